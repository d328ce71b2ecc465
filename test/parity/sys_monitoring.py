"""sys.monitoring calls back for events of a tool."""

# requires: 3.12
import sys

monitoring = sys.monitoring
seen = []


def f():
    return 1


monitoring.use_tool_id(4, "parity")
monitoring.register_callback(
    4, monitoring.events.PY_START, lambda code, offset: seen.append(code.co_name)
)
monitoring.set_local_events(4, f.__code__, monitoring.events.PY_START)
f()
monitoring.set_local_events(4, f.__code__, 0)
monitoring.free_tool_id(4)
print(seen)
