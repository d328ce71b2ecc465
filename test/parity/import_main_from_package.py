"""A module that the program imports finds the program as __main__."""

import os
import sys
import tempfile

setting = "of the program"

with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "parity_asks_main.py"), "w") as file:
        file.write("import __main__\n\n\ndef ask():\n    return __main__.setting\n")
    sys.path.insert(0, folder)
    try:
        import parity_asks_main
    finally:
        sys.path.remove(folder)
print(parity_asks_main.ask())
