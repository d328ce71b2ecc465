"""Text and byte streams in memory, wrappers, seeking."""

import io

text = io.StringIO("a\nb\n")
print(text.readlines(), text.seek(0), text.read(1), text.tell())
raw = io.BytesIO()
wrapper = io.TextIOWrapper(raw, encoding="utf-16", newline="\r\n")
wrapper.write("é\n")
wrapper.flush()
print(raw.getvalue()[2:])
reader = io.BufferedReader(io.BytesIO(b"abcdef"))
print(reader.peek(2)[:2], reader.read(3))
try:
    io.StringIO().fileno()
except io.UnsupportedOperation as error:
    print(error)
