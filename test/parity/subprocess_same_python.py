"""A child Python is of the same version and has the same prefix and path."""

import subprocess
import sys

code = "import sys; print(sys.version_info[:3], sys.prefix, [p for p in sys.path if p])"
here = str((sys.version_info[:3], sys.prefix)).strip("()")
there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
print(
    str(sys.version_info[:3]) in there, sys.prefix in there, all(p in there for p in sys.path if p)
)
