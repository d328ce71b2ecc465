"""A child is ended by signals, and its status says so."""

import signal
import subprocess

process = subprocess.Popen(["sleep", "60"])
print(process.poll())
process.terminate()
print(process.wait() == -signal.SIGTERM)
process = subprocess.Popen(["sleep", "60"])
process.kill()
print(process.wait())
