"""redirect_stdout and redirect_stderr take what the program prints."""

import contextlib
import io
import sys

out, err = io.StringIO(), io.StringIO()
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    print("out")
    print("err", file=sys.stderr)
print(repr(out.getvalue()), repr(err.getvalue()))
