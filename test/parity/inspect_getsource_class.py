"""inspect.getsource gives the text of a class and of its methods."""

# plain: file
import inspect


class A:
    """Some class."""

    def method(self):
        return 1


print(inspect.getsource(A))
print(inspect.getsource(A.method))
print(inspect.getdoc(A), inspect.getcomments(A))
