"""A replaced showwarning is called."""

import warnings

seen = []
original = warnings.showwarning
warnings.showwarning = lambda message, category, *rest, **more: seen.append(
    (str(message), category.__name__)
)
warnings.warn("shown by hand")
warnings.showwarning = original
print(seen)
