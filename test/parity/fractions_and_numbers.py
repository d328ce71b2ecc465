"""Fractions, complex numbers, the numeric tower, big integers."""

import fractions
import math
import numbers

print(fractions.Fraction("0.75") + fractions.Fraction(1, 3), isinstance(True, numbers.Integral))
print((1 + 2j) * 3, abs(3 + 4j), 2**100, (-7) // 2, -7 % 3, divmod(7, -2))
print(math.isqrt(10**20), math.comb(10, 3), round(2.5), 0.1 + 0.2, float("inf"), int("ff", 16))
print(int.from_bytes(b"\1\0", "big"), (255).to_bytes(2, "little"), 1_000, f"{1e100:.3g}")
