"""The default start method runs a function of the library in a process."""

import multiprocessing
import time

if __name__ == "__main__":
    process = multiprocessing.Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    print(process.exitcode)
