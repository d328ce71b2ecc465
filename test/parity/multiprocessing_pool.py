"""A pool of spawned processes maps a function of the library."""

import math
import multiprocessing

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(math.sqrt, [4, 9]))
