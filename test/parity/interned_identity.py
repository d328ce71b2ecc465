"""Constants and small values are the same objects."""

a = 256
b = 256
print(a is b, None is None, ... is Ellipsis)
