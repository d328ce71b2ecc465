"""A trace function sees calls and lines."""

import sys

seen = []


def trace(frame, event, arg):
    if frame.f_code.co_name == "f":
        seen.append((event, frame.f_lineno))
        return trace


def f():
    x = 1
    return x


sys.settrace(trace)
f()
sys.settrace(None)
print(seen, sys.gettrace())
