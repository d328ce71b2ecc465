"""The end of standard input is met at once."""

import sys

print(repr(sys.stdin.read()))
