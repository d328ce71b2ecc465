"""A process that runs a function of the library."""

import multiprocessing
import time

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    print(process.exitcode)
