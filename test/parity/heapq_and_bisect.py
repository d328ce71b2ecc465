"""Heaps and sorted lists."""

import bisect
import heapq

heap = [5, 1, 4]
heapq.heapify(heap)
heapq.heappush(heap, 0)
print(
    [heapq.heappop(heap) for _ in range(4)],
    heapq.nlargest(2, [3, 9, 5]),
    list(heapq.merge([1, 4], [2])),
)
items = [1, 3]
bisect.insort(items, 2)
print(items, bisect.bisect_left(items, 3), bisect.bisect("abd", "c"))
