"""A function that the program defines is pickled by its name."""

import pickle


def double(x):
    return 2 * x


print(pickle.loads(pickle.dumps(double)) is double)
