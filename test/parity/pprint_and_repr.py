"""Pretty printing, short representations, recursive ones."""

import pprint
import reprlib

items = [1]
items.append(items)
print(
    items,
    reprlib.repr(list(range(100))),
    pprint.pformat({"b": list(range(30)), "a": 1}, width=40).splitlines()[:2],
)
pprint.pprint({"z": 1, "a": [2]})
