"""Limits and use of resources."""

import resource

print(
    resource.getrlimit(resource.RLIMIT_CORE)[0] is not None,
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0,
)
