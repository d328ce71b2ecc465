"""An exception in a thread goes to threading.excepthook."""

import threading

seen = []
original = threading.excepthook
threading.excepthook = lambda args: seen.append((args.exc_type.__name__, args.thread.name))
thread = threading.Thread(target=lambda: 1 / 0, name="failing")
thread.start()
thread.join()
threading.excepthook = original
print(seen)
