"""An exception in __del__ goes to sys.unraisablehook."""

import sys

seen = []
sys.unraisablehook = lambda args: seen.append((args.exc_type.__name__, str(args.exc_value)))


class A:
    def __del__(self):
        raise ValueError("in del")


try:
    A()
finally:
    sys.unraisablehook = sys.__unraisablehook__
print(seen)
