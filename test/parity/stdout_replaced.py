"""A replaced sys.stdout takes what is printed."""

import sys


class Upper:
    def __init__(self, out):
        self.out = out

    def write(self, text):
        self.out.write(text.upper())

    def flush(self):
        self.out.flush()


kept = sys.stdout
sys.stdout = Upper(kept)
try:
    print("loud")
finally:
    sys.stdout = kept
print("quiet")
