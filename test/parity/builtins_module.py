"""The module builtins is what names without a definition are looked up in."""

import builtins

print(builtins.print is print, hasattr(builtins, "exit"), callable(help))
builtins.shared_name = 3
try:
    print(shared_name)
finally:
    del builtins.shared_name
