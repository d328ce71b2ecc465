"""subprocess.run: output, status, input, failures, time."""

import subprocess

print(
    subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 2"], capture_output=True, text=True)
)
print(subprocess.run(["cat"], input="there", capture_output=True, text=True).stdout)
try:
    subprocess.run(["false"], check=True)
except subprocess.CalledProcessError as error:
    print(error)
try:
    subprocess.run(["sleep", "60"], timeout=0.05)
except subprocess.TimeoutExpired as error:
    print(type(error).__name__)
try:
    subprocess.run(["/nowhere/at/all"])
except FileNotFoundError as error:
    print(error)
