"""What is said of modules and names that aren't there."""

try:
    import parity_nowhere
except ModuleNotFoundError as error:
    print(error, error.name)
try:
    from math import parity_nothing
except ImportError as error:
    print(type(error).__name__, str(error).split(" (")[0])
try:
    from . import sibling
except ImportError as error:
    print(type(error).__name__, error)
