"""Threads are enumerated with their names."""

import threading

stop = threading.Event()
thread = threading.Thread(target=stop.wait, name="waiting")
thread.start()
print([each.name for each in threading.enumerate() if each.name == "waiting"], thread.is_alive())
stop.set()
thread.join()
print(thread.is_alive(), repr(thread).split("(")[0])
