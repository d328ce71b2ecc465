"""importlib.resources reads what lies in a package."""

import importlib.resources
import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    os.mkdir(os.path.join(folder, "parity_data"))
    open(os.path.join(folder, "parity_data", "__init__.py"), "w").close()
    with open(os.path.join(folder, "parity_data", "words.txt"), "w") as file:
        file.write("some words")
    sys.path.insert(0, folder)
    try:
        print(importlib.resources.files("parity_data").joinpath("words.txt").read_text())
    finally:
        sys.path.remove(folder)
