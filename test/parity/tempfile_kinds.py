"""Temporary files of several kinds."""

import os
import tempfile

with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
    file.write("text")
    file.seek(0)
    print(file.read(), file.name.endswith(".txt"), os.path.exists(file.name))
print(os.path.exists(file.name))
with tempfile.SpooledTemporaryFile(max_size=4) as file:
    file.write(b"longer than four")
    file.seek(0)
    print(file.read(6))
