"""Standard output can be reconfigured."""

import sys

sys.stdout.reconfigure(errors="replace")
print("a\ud800b")
sys.stdout.reconfigure(errors="strict")
