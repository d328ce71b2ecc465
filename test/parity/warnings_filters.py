"""Filters by module know the program as __main__."""

import warnings

with warnings.catch_warnings(record=True) as seen:
    warnings.resetwarnings()
    warnings.filterwarnings("ignore", module="__main__")
    warnings.warn("unheard")
print(len(seen))
