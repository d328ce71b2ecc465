"""Warnings are recorded, filtered, and made errors."""

import warnings

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    warnings.warn("one")
    warnings.warn("two", UserWarning)
print([str(warning.message) for warning in seen], seen[0].category.__name__)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    try:
        warnings.warn("three", RuntimeWarning)
    except RuntimeWarning as error:
        print("raised", error)
