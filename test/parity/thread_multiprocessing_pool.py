"""multiprocessing.pool.ThreadPool maps in threads."""

from multiprocessing.pool import ThreadPool

with ThreadPool(2) as pool:
    print(pool.map(abs, [-1, -2, 3]))
