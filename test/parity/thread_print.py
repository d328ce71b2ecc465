"""What a thread prints is there when it has been joined."""

import threading


def work():
    print("from the thread")


print("before")
thread = threading.Thread(target=work)
thread.start()
thread.join()
print("after")
