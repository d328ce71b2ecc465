"""The frame of the program is the outermost one."""

import inspect
import sys


def f():
    return [info.function for info in inspect.stack()]


print(f(), sys._getframe().f_back)
