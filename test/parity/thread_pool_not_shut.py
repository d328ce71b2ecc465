"""A program waits at its end for what it has given to a pool of threads."""

import concurrent.futures
import time

pool = concurrent.futures.ThreadPoolExecutor(1)
for number in range(3):
    pool.submit(lambda n: (time.sleep(0.01), print("job", n)), number)
print("end of the text")
