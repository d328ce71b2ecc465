"""A module's __getattr__ and __dir__ are used."""

import sys
import types

module = types.ModuleType("parity_lazy")
exec("def __getattr__(name):\n    return name.upper()\n", module.__dict__)
sys.modules["parity_lazy"] = module
try:
    from parity_lazy import hello
finally:
    del sys.modules["parity_lazy"]
print(hello)
