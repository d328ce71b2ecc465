"""Writes to standard output return how much was written, in text and bytes."""

import sys

print(sys.stdout.write("text é\n"))
sys.stdout.flush()
print(sys.stdout.buffer.write(b"bytes\n"))
sys.stdout.buffer.flush()
sys.stdout.writelines(["a\n", "b\n"])
print(sys.stdout.writable(), sys.stdout.readable(), sys.stdout.closed, sys.stdout.name)
