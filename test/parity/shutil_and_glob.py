"""Trees are copied, found by patterns, archived and removed."""

import glob
import os
import shutil
import tempfile

with tempfile.TemporaryDirectory() as folder:
    source = os.path.join(folder, "source")
    os.makedirs(os.path.join(source, "deep"))
    with open(os.path.join(source, "deep", "a.txt"), "w") as file:
        file.write("a")
    shutil.copytree(source, os.path.join(folder, "copy"))
    print(
        [
            os.path.relpath(p, folder)
            for p in sorted(glob.glob(folder + "/**/*.txt", recursive=True))
        ]
    )
    shutil.make_archive(os.path.join(folder, "kept"), "gztar", source)
    shutil.rmtree(source)
    print(sorted(os.listdir(folder)), shutil.which("sh") is not None)
