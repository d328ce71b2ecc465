"""What an interactive statement shows goes to standard output and into _."""

import builtins
import sys

exec(compile("'shown'", "<a>", "single"))
print(builtins._)
sys.displayhook(None)
sys.displayhook([1, 2])
del builtins._
