"""Comprehensions see the names of the program and keep their own."""

n = 10
print([n + i for i in range(3)], {k: v for k, v in zip("ab", range(2))}, {c for c in "aa"})
print([(a, b) for a in range(2) for b in range(2) if a != b], "i" in globals())
limit = 2
print(any(i > limit for i in range(4)), [y := 1, y + 1], [last := i for i in range(3)], last)


class A:
    items = [1, 2]
    doubled = [2 * i for i in items]


print(A.doubled)
