"""The command line of the interpreter."""

import sys

print(len(sys.orig_argv) > 0)
