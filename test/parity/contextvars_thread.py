"""A thread begins with an empty context, unless it is given one."""

import contextvars
import threading

name = contextvars.ContextVar("name", default="unset")
name.set("main")
seen = []
context = contextvars.copy_context()
threads = [
    threading.Thread(target=lambda: seen.append(name.get())),
    threading.Thread(target=context.run, args=(lambda: seen.append(name.get()),)),
]
for thread in threads:
    thread.start()
    thread.join()
print(seen[1])
