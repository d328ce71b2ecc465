"""Enums, flags, automatic values and their texts."""

import enum


class Colour(enum.Enum):
    RED = enum.auto()
    BLUE = enum.auto()

    @property
    def low(self):
        return self.name.lower()


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


print(Colour.RED, repr(Colour.BLUE), Colour["RED"].low, Colour(2), list(Colour))
print(Right.READ | Right.WRITE, Right(3) & Right.READ == 1, Colour.__module__)
try:
    Colour(9)
except ValueError as error:
    print(error)
