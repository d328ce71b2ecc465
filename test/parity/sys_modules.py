"""Modules that a program finds imported at its begin."""

import sys

print(
    [
        name
        for name in ("builtins", "sys", "os", "site", "codecs", "io", "abc", "__main__")
        if name in sys.modules
    ]
)
print([name for name in ("json", "asyncio", "decimal", "unittest") if name in sys.modules])
