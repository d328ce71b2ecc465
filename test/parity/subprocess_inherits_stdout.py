"""A child process that inherits standard output writes there."""

import subprocess

print("parent", flush=True)
subprocess.run(["echo", "child"])
