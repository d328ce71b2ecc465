"""Endless recursion is a RecursionError, and the program goes on."""


def f():
    return f()


try:
    f()
except RecursionError as error:
    print(type(error).__name__)
print("on")
