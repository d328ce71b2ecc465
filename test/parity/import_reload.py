"""A changed module is loaded anew by importlib.reload."""

import importlib
import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "parity_reloaded.py")
    with open(path, "w") as file:
        file.write("value = 1\n")
    sys.path.insert(0, folder)
    try:
        import parity_reloaded

        print(parity_reloaded.value)
        with open(path, "w") as file:
            file.write("value = 'changed'\n")
        importlib.invalidate_caches()
        importlib.reload(parity_reloaded)
        print(parity_reloaded.value)
    finally:
        sys.path.remove(folder)
