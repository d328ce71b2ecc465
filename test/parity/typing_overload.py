"""Overloads are registered by module and name."""

# requires: 3.11
import typing


@typing.overload
def f(x: int) -> int: ...
@typing.overload
def f(x: str) -> str: ...
def f(x):
    return x


print(len(typing.get_overloads(f)), f(1))
