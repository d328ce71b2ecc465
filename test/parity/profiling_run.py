"""cProfile.run runs a statement in the namespace of the program."""

import contextlib
import cProfile
import io


def work():
    return 1


with contextlib.redirect_stdout(io.StringIO()) as out:
    cProfile.run("result = work()", sort="name")
print("(work)" in out.getvalue(), result)
