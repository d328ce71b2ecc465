"""A queue hands items from one thread to another."""

import queue
import threading

items = queue.Queue(maxsize=2)
taken = []


def take():
    while (item := items.get()) is not None:
        taken.append(item)
        items.task_done()


thread = threading.Thread(target=take)
thread.start()
for n in range(5):
    items.put(n)
items.join()
items.put(None)
thread.join()
print(taken)
try:
    items.get_nowait()
except queue.Empty:
    print("empty")
