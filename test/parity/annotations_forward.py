"""A forward reference to a class that is defined later is resolved by its module."""

import typing


class Tree:
    left: "Leaf"
    right: "typing.Optional[Tree]"


class Leaf:
    pass


hints = typing.get_type_hints(Tree)
print(hints["left"] is Leaf, hints["right"] == typing.Optional[Tree])
