"""A module is imported from a zip file."""

import os
import sys
import tempfile
import zipfile

with tempfile.TemporaryDirectory() as folder:
    archive = os.path.join(folder, "modules.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("parity_zipped.py", "value = 'zipped'\n")
    sys.path.insert(0, archive)
    try:
        import parity_zipped
    finally:
        sys.path.remove(archive)
    print(parity_zipped.value, type(parity_zipped.__loader__).__name__)
