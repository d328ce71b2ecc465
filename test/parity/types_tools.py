"""Types made at run time, namespaces, modules, code objects."""

import types

A = types.new_class("A", (), {}, lambda space: space.update(x=1))
print(A.x, A.__module__, types.SimpleNamespace(a=1), types.MappingProxyType({"a": 1}))
module = types.ModuleType("made", "doc")
exec("def f(): return __name__", module.__dict__)
print(module.f(), module.__doc__, module.f.__module__)


def g():
    return x


print(
    types.FunctionType(g.__code__, {"x": 5})(),
    isinstance(g, types.FunctionType),
    types.MethodType(lambda self: self, 3)(),
)
