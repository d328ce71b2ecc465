"""inspect.getsource gives the text of methods."""

# plain: file
import inspect


class A:
    """Some class."""

    def method(self):
        # A comment.
        return 1


print(inspect.getsource(A.method))
print(inspect.getdoc(A), inspect.getsourcelines(A.method)[1])
