"""An exception of the program is pickled with its arguments."""

import pickle


class Refused(Exception):
    pass


error = pickle.loads(pickle.dumps(Refused("no", 3)))
print(type(error) is Refused, error.args)
