"""The entries of a traceback have names, line numbers and lines."""

# plain: file
import sys
import traceback


def f():
    raise ValueError("here")


try:
    f()
except ValueError:
    for entry in traceback.extract_tb(sys.exc_info()[2]):
        print(entry.name, entry.lineno, entry.line)
