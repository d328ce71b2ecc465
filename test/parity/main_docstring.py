"""The first text is the docstring of the program."""

print(__doc__)
