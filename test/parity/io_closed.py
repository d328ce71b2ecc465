"""A closed file refuses, and one left open is warned of."""

import gc
import warnings

with open("/dev/null") as file:
    pass
try:
    file.read()
except ValueError as error:
    print(error)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    open("/dev/null").fileno()
    gc.collect()
print([warning.category.__name__ for warning in seen])
