"""A warning of the compiler is shown."""

import warnings

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    compile("x = 1 is 1", "<a>", "exec")
print(seen[0].category.__name__)
