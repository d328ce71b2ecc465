"""The flags of the interpreter."""

import sys

for name in (
    "debug",
    "optimize",
    "no_site",
    "ignore_environment",
    "bytes_warning",
    "quiet",
    "isolated",
    "dev_mode",
    "utf8_mode",
    "inspect",
    "interactive",
    "verbose",
    "no_user_site",
    "hash_randomization",
):
    print(name, getattr(sys.flags, name))
