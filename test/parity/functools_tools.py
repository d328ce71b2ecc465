"""Caches, partials, wrappers, single dispatch and total ordering."""

import functools


@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@functools.singledispatch
def kind(x):
    return "other"


@kind.register
def _(x: int):
    return "int"


@kind.register(list)
def _(x):
    return "list"


def deco(f):
    @functools.wraps(f)
    def wrapped():
        return f()

    return wrapped


@deco
def named():
    """Doc."""


print(fib(50), fib.cache_info().hits, kind(1), kind([]), kind("x"))
print(
    named.__name__,
    named.__doc__,
    named.__wrapped__.__module__,
    functools.reduce(lambda a, b: a * b, [1, 2, 3]),
)
print(functools.partial(int, base=2)("101"))


class Lazy:
    @functools.cached_property
    def value(self):
        print("made")
        return 5


lazy = Lazy()
print(lazy.value, lazy.value)
