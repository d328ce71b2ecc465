"""A thread has a context of decimals of its own."""

import decimal
import threading

kept = decimal.getcontext().copy()
decimal.getcontext().prec = 3
seen = []
thread = threading.Thread(target=lambda: seen.append(decimal.getcontext().prec))
thread.start()
thread.join()
print(decimal.getcontext().prec, seen)
decimal.setcontext(kept)
