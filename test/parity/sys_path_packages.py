"""sys.path has the folders that it has in plain Python, but for the program's own."""

import sys

print([folder for folder in sys.path if folder])
