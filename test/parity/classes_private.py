"""Private names are mangled, slots are kept, instances differ."""


class A:
    __slots__ = ("__x", "y")

    def __init__(self):
        self.__x = 1


a = A()
print(a._A__x, hasattr(a, "y"), A.__slots__, isinstance(a, A), issubclass(bool, int))
try:
    a.z = 1
except AttributeError:
    print("refused")
print(type(a).__name__, A.__dict__["__module__"], callable(A), a.__class__ is A)
