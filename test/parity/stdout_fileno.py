"""The standard streams have their numbers."""

import sys

print(sys.stdout.fileno(), sys.stderr.fileno(), sys.__stdout__.fileno(), sys.__stderr__.fileno())
print(sys.stdout.isatty(), sys.stderr.isatty())
