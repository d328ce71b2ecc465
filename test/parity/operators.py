"""Operators of classes, comparisons, containers, calls."""

import operator


class V:
    def __init__(self, *n):
        self.n = n

    def __add__(self, other):
        return V(*map(operator.add, self.n, other.n))

    def __eq__(self, other):
        return self.n == other.n

    def __len__(self):
        return len(self.n)

    def __getitem__(self, i):
        return self.n[i]

    def __contains__(self, x):
        return x in self.n

    def __call__(self, x):
        return x

    def __bool__(self):
        return False


v = V(1, 2) + V(3, 4)
print(list(v), v == V(4, 6), len(v), 4 in v, v(5), bool(v), v[::-1])
try:
    hash(v)
except TypeError as error:
    print(error)
try:
    V(1) < V(2)
except TypeError as error:
    print(error)
