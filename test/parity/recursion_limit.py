"""The recursion limit is Python's, can be set and is put back."""

import sys

limit = sys.getrecursionlimit()
sys.setrecursionlimit(limit + 500)


def depth(n):
    return n if n == 0 else depth(n - 1) + 1


print(limit, depth(limit + 100))
sys.setrecursionlimit(limit)
