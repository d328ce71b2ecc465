"""os.environ is read, set, deleted and copied."""

import os

os.environ["PARITY_X"] = "1"
print(os.getenv("PARITY_X"), "PARITY_X" in os.environ, os.environ.get("PARITY_NOT", "no"))
os.putenv("PARITY_Y", "2")
print(os.environ.pop("PARITY_X"), "PARITY_Y" in os.environ)
os.unsetenv("PARITY_Y")
try:
    os.environ["PARITY_X"]
except KeyError as error:
    print(error)
try:
    os.environ["A"] = 1
except TypeError as error:
    print(error)
