"""__main__ is the module in which the program runs."""

import __main__
import sys

value = 1
print(__main__.value, sys.modules["__main__"] is __main__, __main__.__dict__ is globals())
__main__.other = 2
print(other)
