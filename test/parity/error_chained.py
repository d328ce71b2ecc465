"""The exception that ends a program is the last of its chain."""

print("start")
try:
    int("x")
except ValueError as error:
    raise RuntimeError("could not") from error
