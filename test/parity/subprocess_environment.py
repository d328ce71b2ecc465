"""A child process has the environment of os.environ."""

import os
import subprocess

os.environ["PARITY_VALUE"] = "set"
print(
    subprocess.run(
        ["sh", "-c", "echo $PARITY_VALUE"], capture_output=True, text=True
    ).stdout.strip()
)
del os.environ["PARITY_VALUE"]
print(
    subprocess.run(
        ["sh", "-c", "echo ${PARITY_VALUE-unset}"], capture_output=True, text=True
    ).stdout.strip()
)
print(
    subprocess.run(
        ["sh", "-c", "echo $A"], env={"A": "only"}, capture_output=True, text=True
    ).stdout.strip()
)
