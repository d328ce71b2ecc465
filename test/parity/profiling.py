"""Code is profiled and timed."""

import cProfile
import io
import pstats
import timeit


def work():
    return sum(range(10))


profile = cProfile.Profile()
profile.runcall(work)
out = io.StringIO()
pstats.Stats(profile, stream=out).print_stats("work")
print(
    "(work)" in out.getvalue(),
    timeit.timeit("1 + 1", number=10) >= 0,
    timeit.timeit("work()", globals=globals(), number=1) >= 0,
)
