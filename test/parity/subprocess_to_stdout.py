"""A child process is given sys.stdout by name."""

import subprocess
import sys

print(subprocess.run(["true"], stdout=sys.stdout, stderr=sys.stderr).returncode)
