"""A pool of threads maps, and its futures have results and exceptions."""

import concurrent.futures

with concurrent.futures.ThreadPoolExecutor(3, initializer=int) as pool:
    print(list(pool.map(lambda n: n * 2, range(5))))
    future = pool.submit(lambda: {}["x"])
    print(repr(future.exception()), future.done())
    print(
        sorted(
            f.result()
            for f in concurrent.futures.as_completed([pool.submit(pow, 2, n) for n in range(3)])
        )
    )
