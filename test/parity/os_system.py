"""os.system gives the status of a shell, os.popen its output."""

import os

print(os.waitstatus_to_exitcode(os.system("exit 3")))
with os.popen("echo sent") as pipe:
    print(pipe.read().strip())
