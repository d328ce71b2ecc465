"""inspect lists the functions and classes of __main__."""

import inspect
import sys


def f():
    pass


class A:
    pass


main = sys.modules["__main__"]
print([name for name, _ in inspect.getmembers(main, inspect.isfunction)])
print([name for name, _ in inspect.getmembers(main, inspect.isclass) if not name.startswith("_")])
