"""A ProcessPoolExecutor with spawned processes."""

import concurrent.futures
import math
import multiprocessing

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(list(pool.map(math.factorial, [3, 4])))
