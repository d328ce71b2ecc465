"""A wrong argument is reported on standard error."""

import argparse

parser = argparse.ArgumentParser(prog="tool")
parser.add_argument("--level", choices=["low", "high"])
parser.parse_args(["--level", "none"])
