"""A program without arguments."""

import sys

print(len(sys.argv), type(sys.argv[0]).__name__)
