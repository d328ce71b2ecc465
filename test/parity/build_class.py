"""Classes are built by the __build_class__ of builtins."""

import builtins

original = builtins.__build_class__
names = []


def noted(function, name, *bases, **keywords):
    names.append(name)
    return original(function, name, *bases, **keywords)


builtins.__build_class__ = noted
try:

    class A:
        pass

finally:
    builtins.__build_class__ = original
print(names)
