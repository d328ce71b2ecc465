"""Pipes between programs, shells, and Popen as a context manager."""

import subprocess

with subprocess.Popen(["printf", "b\\na\\n"], stdout=subprocess.PIPE) as first:
    sorted_ = subprocess.run(["sort"], stdin=first.stdout, capture_output=True, text=True)
print(sorted_.stdout.split(), first.returncode)
print(subprocess.check_output("echo $((1 + 2))", shell=True, text=True).strip())
print(subprocess.getoutput("echo plain"), subprocess.getstatusoutput("exit 3"))
