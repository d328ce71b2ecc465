"""Formatting by f-strings, format and %."""

import datetime
import decimal

name, value = "tea", 1234.5
print(
    f"{name!r:>8}|{value:,.2f}|{value=}|{255:#06x}|{'x':^5}|{datetime.date(2024, 1, 2):%d.%m}|{{}}"
)
print(
    "{0} {1[a]} {2.real}".format(1, {"a": 2}, 3),
    "%s %05d %-4s| %.1e %%" % ("a", 42, "b", 12345.678),
)
print(f"{decimal.Decimal('1.5'):.2f} {10**10:_} {-5:+d} {0.5:%} {3:b} {'é':*<3}")
try:
    f"{'a':d}"
except ValueError as error:
    print(error)


class A:
    def __format__(self, spec):
        return f"<{spec}>"


print(f"{A():some spec}", format(A(), "x"))
