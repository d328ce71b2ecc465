"""The program runs in the main thread."""

import threading

print(threading.current_thread() is threading.main_thread(), threading.current_thread().name)
print(threading.current_thread().daemon, threading.get_ident() == threading.main_thread().ident)
