"""A program can read its own annotations by name."""

# requires: 3.10
count: int = 3
limit: float = 0.5


def names():
    import inspect
    import sys

    return sorted(inspect.get_annotations(sys.modules["__main__"]))


print(names())
