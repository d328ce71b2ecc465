"""inspect.getsource gives the text of a function of the program."""

# plain: file
import inspect


def double(x):
    # A comment of it.
    return 2 * x


print(inspect.getsource(double))
