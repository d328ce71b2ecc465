"""A dataclass made by a call, and the module it says it is of."""

import dataclasses

Pair = dataclasses.make_dataclass("Pair", [("a", int), ("b", int, 2)])
print(Pair(1), Pair.__module__ in ("__main__", "types"))
