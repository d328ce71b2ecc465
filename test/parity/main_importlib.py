"""importlib finds __main__ as it stands in sys.modules."""

import importlib
import sys

here = importlib.import_module("__main__")
print(here is sys.modules["__main__"], here.__name__)
