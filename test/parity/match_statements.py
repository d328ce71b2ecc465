"""Patterns of match: sequences, mappings, classes, guards, captures."""

import dataclasses


@dataclasses.dataclass
class Point:
    x: int
    y: int


def describe(value):
    match value:
        case 0 | 1:
            return "small"
        case [first, *rest] if rest:
            return f"list {first} {rest}"
        case {"kind": str(kind), **others}:
            return f"{kind} {others}"
        case Point(x=0, y=y):
            return f"on the axis {y}"
        case Point(x, y):
            return f"point {x} {y}"
        case str() as text:
            return f"text {text}"
        case None:
            return "none"
        case _:
            return "other"


for value in (1, [1, 2], [1], {"kind": "a", "n": 1}, Point(0, 2), Point(1, 2), "t", None, 2.5):
    print(describe(value))
