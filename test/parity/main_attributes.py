"""The names that a module begins with."""

print(__name__, __package__, __doc__ is None, __spec__)
print(__builtins__.__name__ if hasattr(__builtins__, "__name__") else "dict")
