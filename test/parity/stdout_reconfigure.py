"""Standard output can be told to write otherwise."""

import sys

sys.stdout.reconfigure(errors="replace")
print("a\ud800b")
sys.stdout.reconfigure(errors="strict")
