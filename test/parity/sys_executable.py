"""The name of the Python executable."""

import sys

print(sys.executable, sys.prefix, sys.exec_prefix)
