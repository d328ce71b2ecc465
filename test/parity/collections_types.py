"""Counters, ordered and default dictionaries, deques, chains."""

import collections

counter = collections.Counter("abca")
counter.update("a")
print(
    counter.most_common(1),
    counter - collections.Counter("a"),
    collections.OrderedDict(a=1).popitem(),
)
groups = collections.defaultdict(list)
groups["x"].append(1)
print(
    groups,
    collections.deque([1, 2, 3], maxlen=2),
    collections.ChainMap({"a": 1}, {"a": 2, "b": 3})["b"],
)
