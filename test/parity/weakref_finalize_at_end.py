"""A finalizer of weakref runs at the end at the latest."""

import weakref


class A:
    pass


a = A()
weakref.finalize(a, print, "finalized")
print("last line")
