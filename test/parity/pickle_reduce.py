"""__reduce__ and __getstate__ of a class of the program are used."""

import copy
import pickle


class Counter:
    def __init__(self, start):
        self.start, self.cache = start, object()

    def __reduce__(self):
        return Counter, (self.start + 1,)


print(pickle.loads(pickle.dumps(Counter(1))).start, copy.copy(Counter(5)).start)
