"""A lone surrogate can't be written to standard output, but to standard error."""

import sys

try:
    print("\ud800")
except UnicodeEncodeError as error:
    print(error)
print("\udcff", file=sys.stderr)
