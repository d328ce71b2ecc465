"""Contexts of decimals are set, kept and left."""

import decimal

print(decimal.getcontext().prec, decimal.Decimal(1) / 7)
with decimal.localcontext() as context:
    context.prec = 4
    print(decimal.Decimal(1) / 7)
print(
    decimal.Decimal(1) / 7,
    decimal.Decimal("2.675").quantize(decimal.Decimal("0.01"), decimal.ROUND_HALF_UP),
)
try:
    decimal.Decimal(1) / 0
except decimal.DivisionByZero as error:
    print(type(error).__name__)
try:
    decimal.Decimal("x")
except decimal.InvalidOperation:
    print("invalid")
