"""A child Python is started by sys.executable."""

import subprocess
import sys

print(
    subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.argv[1:], 6 * 7)", "a b"],
        capture_output=True,
        text=True,
    )
)
