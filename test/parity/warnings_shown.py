"""A warning is written to standard error once for its place."""

# plain: file
import warnings

for _ in range(3):
    warnings.warn("careful")
warnings.warn("old", DeprecationWarning)
