"""The annotations of a class are found as typing finds them."""

import typing


class Point:
    x: int
    y: "float" = 0.0


print(Point.__annotations__)
print(typing.get_type_hints(Point))
