"""What the file system refuses."""

import os
import tempfile

with tempfile.TemporaryDirectory() as folder:
    for action in (
        lambda: open(folder),
        lambda: os.rmdir("/nowhere"),
        lambda: os.mkdir(folder),
        lambda: open(folder + "/x", "xz"),
    ):
        try:
            action()
        except (OSError, ValueError) as error:
            print(type(error).__name__, str(error).split(":")[0].split("'")[0])
