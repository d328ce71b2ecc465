"""Iterators are chained, grouped, paired, counted and combined."""

import itertools

print(
    list(itertools.chain.from_iterable([[1], [2, 3]])),
    list(itertools.islice(itertools.count(5, 2), 3)),
)
print([(k, list(g)) for k, g in itertools.groupby("aabc")], list(itertools.pairwise("abc")))
print(list(itertools.product("ab", repeat=2)) == [(a, b) for a in "ab" for b in "ab"])
print(list(itertools.combinations("abc", 2)), list(itertools.accumulate([1, 2, 3], initial=0)))
a, b = itertools.tee([1, 2])
print(
    next(a),
    list(b),
    list(itertools.zip_longest("a", "bc", fillvalue="-")),
    list(itertools.takewhile(lambda n: n < 2, range(9))),
)
