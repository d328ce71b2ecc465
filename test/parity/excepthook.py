"""An own sys.excepthook can be called, and the usual one prints."""

import sys

hooked = []
original = sys.excepthook
sys.excepthook = lambda *args: hooked.append(args[0].__name__)
try:
    raise ValueError
except ValueError:
    sys.excepthook(*sys.exc_info())
sys.excepthook = original
print(hooked, original is sys.__excepthook__)
