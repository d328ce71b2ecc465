"""A replaced __import__ sees the imports of the program."""

import builtins

original = builtins.__import__
seen = []


def noted(name, *rest):
    seen.append(name)
    return original(name, *rest)


builtins.__import__ = noted
try:
    import json
    from os import path
finally:
    builtins.__import__ = original
print(seen[0], "os" in seen)
