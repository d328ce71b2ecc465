"""Single dispatch by annotations that are text is resolved by the module."""

from __future__ import annotations

import functools


class Own:
    pass


@functools.singledispatch
def kind(x):
    return "other"


@kind.register
def _(x: Own):
    return "own"


print(kind(Own()), kind(1))
