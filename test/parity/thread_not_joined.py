"""A program waits at its end for threads that it hasn't joined."""

import threading
import time


def work():
    time.sleep(0.05)
    print("done at last")


threading.Thread(target=work).start()
print("end of the text")
