"""Metaclasses, __prepare__, __init_subclass__, __class_getitem__."""

registry = []


class Meta(type):
    @classmethod
    def __prepare__(mcs, name, bases, **keywords):
        return {"prepared": True}

    def __call__(cls, *args):
        print("making", cls.__name__)
        return super().__call__(*args)


class Base(metaclass=Meta):
    def __init_subclass__(cls, /, tag=None, **keywords):
        registry.append((cls.__name__, tag))

    def __class_getitem__(cls, item):
        return f"{cls.__name__}[{item}]"


class Derived(Base, tag="x"):
    pass


Derived()
print(registry, Base[3], Derived.prepared, Derived.__module__, type(Derived))
