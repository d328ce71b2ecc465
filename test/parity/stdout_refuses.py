"""What isn't text, or isn't bytes, is refused."""

import sys

for write, value in (
    (sys.stdout.write, b"bytes"),
    (sys.stdout.buffer.write, "text"),
    (sys.stdout.write, 5),
):
    try:
        write(value)
    except TypeError as error:
        print(error)
