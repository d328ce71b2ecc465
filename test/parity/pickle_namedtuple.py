"""A namedtuple of the program is pickled."""

import collections
import pickle

Point = collections.namedtuple("Point", "x y")
print(pickle.loads(pickle.dumps([Point(1, 2)])))
