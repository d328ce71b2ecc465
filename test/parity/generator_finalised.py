"""A generator that is dropped runs its finally clause."""


def g():
    try:
        yield 1
    finally:
        print("finally")


items = g()
next(items)
del items
print("after")
