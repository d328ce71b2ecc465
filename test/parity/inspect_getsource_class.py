"""inspect.getsource gives the text of a class."""

# plain: file
import inspect


class A:
    """Some class."""


print(inspect.getsource(A))
