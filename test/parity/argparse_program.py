"""Arguments are parsed, and errors exit with status 2."""

import argparse
import contextlib
import io

parser = argparse.ArgumentParser(prog="tool")
parser.add_argument("files", nargs="*")
parser.add_argument("-n", type=int, default=1, help="how many")
sub = parser.parse_args(["a", "-n", "3", "b"])
print(sub)
parser.print_usage()
err = io.StringIO()
with contextlib.redirect_stderr(err):
    try:
        parser.parse_args(["-n", "x"])
    except SystemExit as error:
        print(error.code)
print(err.getvalue().splitlines()[-1])
