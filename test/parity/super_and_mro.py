"""super follows the method resolution order."""


class A:
    def f(self):
        return ["A"]


class B(A):
    def f(self):
        return ["B"] + super().f()


class C(A):
    def f(self):
        return ["C"] + super().f()


class D(B, C):
    pass


print(D().f(), [c.__name__ for c in D.__mro__])
try:
    type("E", (A, B), {})
except TypeError as error:
    print(str(error).splitlines()[0])
