"""An instance of a class that the program defines is pickled and comes back."""

import pickle


class Point:
    def __init__(self, x):
        self.x = x


copy = pickle.loads(pickle.dumps(Point(3)))
print(type(copy) is Point, copy.x)
