"""A thread of the program pickles instances of its classes."""

import pickle
from concurrent.futures import ThreadPoolExecutor


class Point:
    def __init__(self, x):
        self.x = x


with ThreadPoolExecutor(1) as pool:
    print(pool.submit(lambda: pickle.loads(pickle.dumps(Point(4))).x).result())
