"""A coroutine that is never awaited is warned of."""

import gc
import warnings


async def forgotten():
    pass


with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    forgotten()
    gc.collect()
print([str(warning.message) for warning in seen])
