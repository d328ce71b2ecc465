"""Conditions, semaphores, barriers and reentrant locks."""

import threading

barrier = threading.Barrier(3)
order = []
condition = threading.Condition()


def work(n):
    barrier.wait()
    with condition:
        order.append(n)
        condition.notify_all()


threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for thread in threads:
    thread.start()
with condition:
    print(condition.wait_for(lambda: len(order) == 3, timeout=10))
for thread in threads:
    thread.join()
lock = threading.RLock()
with lock, lock:
    print(sorted(order), threading.Semaphore(1).acquire(blocking=False))
