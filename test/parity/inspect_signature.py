"""Signatures are read, bound and shown."""

import functools
import inspect


def f(a, /, b, *args, c=3, **rest):
    pass


print(inspect.signature(f), inspect.signature(functools.partial(f, 1)))
bound = inspect.signature(f).bind(1, 2, 3, d=4)
bound.apply_defaults()
print(bound.arguments)
try:
    inspect.signature(f).bind(1)
except TypeError as error:
    print(error)
