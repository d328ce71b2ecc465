"""The annotations of a function and its signature."""

import inspect


def area(width: int, height: "int" = 2, *, unit: str = "m") -> "int":
    return width * height


print(area.__annotations__)
print(inspect.signature(area))
print(inspect.get_annotations(area, eval_str=True))
