"""A package in a temporary folder is imported, with its relative imports."""

import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    package = os.path.join(folder, "parity_package")
    os.mkdir(package)
    with open(os.path.join(package, "__init__.py"), "w") as file:
        file.write("from .inner import value\n")
    with open(os.path.join(package, "inner.py"), "w") as file:
        file.write("from . import other\nvalue = other.base + 1\n")
    with open(os.path.join(package, "other.py"), "w") as file:
        file.write("base = 41\n")
    sys.path.insert(0, folder)
    try:
        import parity_package
    finally:
        sys.path.remove(folder)
    print(parity_package.value, parity_package.inner.__name__, parity_package.__package__)
