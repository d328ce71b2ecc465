"""Generators are sent to, thrown into, closed, and delegate."""


def inner():
    try:
        got = yield 1
        print("got", got)
        yield 2
    except ValueError as error:
        print("thrown", error)
        yield 3
    finally:
        print("closed")
    return "result"


def outer():
    value = yield from inner()
    print("returned", value)


g = outer()
print(next(g), g.send("x"), g.throw(ValueError("y")))
print(list(g))
g = outer()
next(g)
g.close()
