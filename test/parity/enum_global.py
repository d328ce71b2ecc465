"""Members of an enum are put among the names of the program."""

# requires: 3.11
import enum


@enum.global_enum
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


print(HIGH, repr(LOW))
