"""Files are written, read, appended to and walked through."""

import os
import pathlib
import tempfile

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("é\n", encoding="utf-8")
    with open(folder / "a.txt", "a", encoding="utf-8") as file:
        print(file.write("more"), file.tell())
    print((folder / "a.txt").read_bytes(), sorted(p.name for p in folder.iterdir()))
    print(
        [(os.path.basename(top), sorted(dirs), files) for top, dirs, files in os.walk(name)][0][1:]
    )
    with open(folder / "a.txt") as file:
        print(file.encoding.lower(), [line for line in file])
print(os.path.exists(name))
