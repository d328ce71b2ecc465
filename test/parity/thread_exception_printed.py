"""An exception in a thread is printed to standard error."""

import threading

thread = threading.Thread(target=int, args=("x",), name="failing")
thread.start()
thread.join()
print("joined")
