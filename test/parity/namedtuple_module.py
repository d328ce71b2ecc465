"""A namedtuple belongs to the module that made it."""

import collections
import typing

Point = collections.namedtuple("Point", "x y")


class Size(typing.NamedTuple):
    width: int
    height: int = 1


print(Point.__module__, Point(1, 2), Size.__module__, Size(3))
