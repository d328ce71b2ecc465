"""sys.__stdout__ is where sys.stdout began."""

import sys

print(
    sys.__stdout__ is sys.stdout,
    sys.__stderr__ is sys.stderr,
    type(sys.stdout).__name__,
    sys.stdout.mode,
)
