"""A file is mapped into memory and locked."""

import fcntl
import mmap
import tempfile

with tempfile.TemporaryFile() as file:
    file.write(b"hello")
    file.flush()
    fcntl.flock(file, fcntl.LOCK_EX)
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"J"
        print(mapped[:], mapped.find(b"l"))
