"""A profile function sees calls of Python and of C."""

import sys

seen = []


def profile(frame, event, arg):
    seen.append((event, frame.f_code.co_name if event in ("call", "return") else arg.__name__))


def f():
    return len([])


sys.setprofile(profile)
f()
sys.setprofile(None)
print(seen[:4])
