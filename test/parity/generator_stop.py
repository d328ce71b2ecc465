"""StopIteration in a generator becomes a RuntimeError."""


def g():
    yield 1
    raise StopIteration


try:
    list(g())
except RuntimeError as error:
    print(error)
