"""Classes and functions of the program are called __main__'s."""


class A:
    class B:
        def method(self):
            pass


print(A, A.B, A.__module__, A.B.__qualname__)
print(A.B.method.__module__, A.B.method.__qualname__, repr(A.B()).split(" object")[0])
