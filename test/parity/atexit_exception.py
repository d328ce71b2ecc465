"""An exception in a callback of atexit is printed, and the others run."""

import atexit

atexit.register(print, "still run")
atexit.register(int, "x")
print("last line")
