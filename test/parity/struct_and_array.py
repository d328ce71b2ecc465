"""Packed bytes, arrays, memory views."""

import array
import struct

print(
    struct.pack(">hI3s", 1, 2, b"ab"),
    struct.unpack("<d", struct.pack("<d", 1.5)),
    struct.calcsize("@qh"),
)
numbers = array.array("d", [1, 2])
view = memoryview(bytearray(b"abcd"))
view[1:3] = b"XY"
print(numbers, view.tobytes(), view[::2].tolist(), numbers.itemsize)
try:
    struct.pack("b", 300)
except struct.error as error:
    print(error)
