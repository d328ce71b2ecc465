"""A program waits at its end for what it has given to a pool of threads."""

import concurrent.futures
import threading
import time

ended = threading.Event()


def work(n):
    ended.wait()
    time.sleep(0.01)
    print("job", n)


pool = concurrent.futures.ThreadPoolExecutor(1)
for number in range(3):
    pool.submit(work, number)
print("end of the text")
ended.set()
