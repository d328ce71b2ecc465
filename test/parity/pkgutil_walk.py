"""pkgutil lists the modules of a package."""

import json
import pkgutil

print(sorted(module.name for module in pkgutil.iter_modules(json.__path__)))
