"""With annotations as text, typing resolves them by the module of the class."""

from __future__ import annotations

import typing


class Node:
    next: Node | None
    items: list[int]


print(Node.__annotations__)
print(typing.get_type_hints(Node, {"Node": Node})["items"])
print(typing.get_type_hints(Node)["items"])
