"""A debugger that reads its commands from a stream."""

import io
import pdb


def f(x):
    y = x + 1
    return y


out = io.StringIO()
debugger = pdb.Pdb(
    stdin=io.StringIO("step\nnext\nnext\np y\ncontinue\n"), stdout=out, nosigint=True, readrc=False
)
debugger.use_rawinput = False
print(debugger.runcall(f, 1), "\n(Pdb) 2\n" in out.getvalue() or "(Pdb) 2" in out.getvalue())
