"""inspect.getmodule finds __main__ for what the program defines."""

import inspect
import sys


def f():
    pass


class A:
    pass


print(inspect.getmodule(f) is sys.modules["__main__"], inspect.getmodule(A).__name__)
