"""A module made from a file by its path."""

import importlib.util
import os
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "plugin.py")
    with open(path, "w") as file:
        file.write("def run():\n    return __name__\n")
    spec = importlib.util.spec_from_file_location("parity_plugin", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(module.run(), os.path.basename(module.__file__))
