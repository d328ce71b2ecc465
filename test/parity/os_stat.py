"""Attributes of files, links and modes."""

import os
import stat
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(b"123")
    os.chmod(path, 0o640)
    os.symlink("file", os.path.join(folder, "link"))
    status = os.stat(path)
    print(status.st_size, stat.filemode(status.st_mode), os.readlink(os.path.join(folder, "link")))
    print(sorted((entry.name, entry.is_symlink()) for entry in os.scandir(folder)))
