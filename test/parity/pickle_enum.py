"""A member of an enum that the program defines is itself after pickling."""

import enum
import pickle


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


print(pickle.loads(pickle.dumps(Colour.BLUE)) is Colour.BLUE)
