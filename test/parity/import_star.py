"""A star import takes the public names of a module."""

from string import *

print(digits, callable(capwords))
