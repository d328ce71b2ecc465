"""A daemon thread can be started."""

import threading

done = threading.Event()
thread = threading.Thread(target=done.set, daemon=True)
thread.start()
print(done.wait(10), thread.daemon)
