"""sys.audit raises events, sys.intern and getsizeof work."""

import sys

print(
    sys.audit("parity.event", 1),
    sys.intern("ab" * 3) is sys.intern("ababab"),
    sys.getsizeof([]) > 0,
)
print(sys.getrefcount(object()) >= 1, sys.is_finalizing(), sys.getswitchinterval() > 0)
