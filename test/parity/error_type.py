"""A call with the wrong arguments."""


def f(a, b):
    pass


f(1)
