"""Unpacking, chained comparisons, conditional expressions, slices."""

a, *b, c = range(5)
print(a, b, c, [*b, *"x"], {**{"k": 1}, "l": 2}, 1 < 2 < 3, (x := 5) + x)
first, (second, third) = 1, (2, 3)
print(first, second, third, [1, 2, 3, 4][1:-1:2], "yes" if [] else "no", not None)
try:
    p, q = [1, 2, 3]
except ValueError as error:
    print(str(error).split(" (")[0])
