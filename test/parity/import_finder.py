"""A finder on sys.meta_path makes modules."""

import importlib.abc
import importlib.util
import sys


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == "parity_virtual":
            return importlib.util.spec_from_loader(name, self)

    def exec_module(self, module):
        module.value = "found"


sys.meta_path.insert(0, Finder())
try:
    import parity_virtual
finally:
    del sys.meta_path[0]
print(parity_virtual.value, parity_virtual.__spec__.name)
