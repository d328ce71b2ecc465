"""The folders of the library are on sys.path."""

import os
import sys

print(any(os.path.exists(os.path.join(folder, "dataclasses.py")) for folder in sys.path))
print(all(isinstance(folder, str) for folder in sys.path))
