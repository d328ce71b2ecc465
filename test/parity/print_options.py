"""print with separators, ends, files and flush."""

import io
import sys

print(1, "a", None, sep="-", end="!\n")
print("no end", end="")
print()
print("to stderr", file=sys.stderr)
print(*[], sep="x")
text = io.StringIO()
print("kept", file=text, flush=True)
print(repr(text.getvalue()), print())
