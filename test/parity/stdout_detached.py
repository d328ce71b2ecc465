"""Text without its end of line is there at the end."""

import sys

sys.stdout.write("first\nno end of line")
