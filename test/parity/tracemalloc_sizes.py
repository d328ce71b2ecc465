"""Memory is traced and compared."""

import tracemalloc

tracemalloc.start()
before = tracemalloc.take_snapshot()
kept = [bytearray(1000) for _ in range(100)]
size, peak = tracemalloc.get_traced_memory()
print(
    size > 100_000, peak >= size, len(tracemalloc.take_snapshot().compare_to(before, "lineno")) > 0
)
tracemalloc.stop()
print(tracemalloc.is_tracing())
