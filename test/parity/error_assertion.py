"""A failed assertion with its text."""

value = 3
assert value == 4, f"value is {value}"
