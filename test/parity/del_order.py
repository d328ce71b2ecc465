"""An object is finalised when the last name of it goes."""


class A:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("del", self.name)


a = A("a")
b = a
del a
print("still")
b = None
A("temporary")
print("end")
