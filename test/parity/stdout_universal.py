"""Carriage returns and other characters are written as they are."""

import sys

sys.stdout.write("a\rb\n")
sys.stdout.write("\ttab\vvertical\fform\n")
print("nul \0 and é 👍 \x1b[0m")
