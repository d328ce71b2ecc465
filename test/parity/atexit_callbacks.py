"""Callbacks of atexit run at the end, the last one first."""

import atexit

atexit.register(print, "first")


@atexit.register
def second():
    print("second")


def never():
    print("never")


atexit.register(never)
atexit.unregister(never)
print("last line")
