"""Clocks go on, and times are formatted."""

import time

a = time.monotonic()
time.sleep(0.002)
print(time.monotonic() - a >= 0.002, time.perf_counter_ns() > 0, time.process_time() > 0)
print(time.strftime("%Y-%m-%d", time.gmtime(0)), time.gmtime(86400).tm_yday, time.time() > 1e9)
