"""breakpoint calls sys.breakpointhook."""

import sys

sys.breakpointhook = lambda *args: print("stopped", args)
breakpoint(1)
sys.breakpointhook = sys.__breakpointhook__
