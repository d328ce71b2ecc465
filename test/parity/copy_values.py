"""Shallow and deep copies."""

import copy


class Node:
    def __init__(self):
        self.items = [1]
        self.me = self


node = Node()
deep = copy.deepcopy(node)
print(deep.me is deep, deep.items is node.items, copy.copy(node).items is node.items, deep.items)


class Own:
    def __deepcopy__(self, memo):
        return "own"


print(copy.deepcopy([Own(), {"a": (1, [2])}]))
