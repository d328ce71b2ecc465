"""A timer runs its function later, a cancelled one doesn't."""

import threading

done = threading.Event()
timer = threading.Timer(0.01, done.set)
timer.start()
print(done.wait(10))
cancelled = threading.Timer(60, print, args=("never",))
cancelled.start()
cancelled.cancel()
cancelled.join()
