"""runpy runs a file and a module as the main one."""

import os
import runpy
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "script.py")
    with open(path, "w") as file:
        file.write(
            "import sys\nname = __name__\nfound = sys.modules['__main__'].__dict__ is globals()\n"
        )
    result = runpy.run_path(path, run_name="__main__")
    print(result["name"], result["found"])
value = 5
import __main__

print(__main__.value)
