"""threading.local has values of each thread's own."""

import threading

local = threading.local()
local.value = "main"
seen = []


def work():
    seen.append(hasattr(local, "value"))
    local.value = "thread"
    seen.append(local.value)


thread = threading.Thread(target=work)
thread.start()
thread.join()
print(seen, local.value)
