"""Frames know their functions, lines and variables."""

import inspect
import sys


def inner():
    frame = sys._getframe()
    return (
        frame.f_code.co_name,
        frame.f_back.f_code.co_name,
        frame.f_back.f_lineno,
        sorted(frame.f_back.f_locals),
    )


def outer():
    here = 1
    return inner()


print(outer())
print(sys._getframe().f_code.co_name, sys._getframe().f_globals is globals())
print([info.function for info in inspect.stack()][:1])
