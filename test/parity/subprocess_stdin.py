"""A child process that inherits standard input finds its end."""

import subprocess

print(subprocess.run(["cat"], capture_output=True, stdin=subprocess.DEVNULL).stdout)
