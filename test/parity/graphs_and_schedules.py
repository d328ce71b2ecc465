"""Sorting by dependencies, scheduling, and differences of texts."""

import difflib
import graphlib
import sched

print(list(graphlib.TopologicalSorter({"b": {"a"}, "c": {"b"}}).static_order()))
try:
    list(graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())
except graphlib.CycleError as error:
    print(error.args[0])
scheduler = sched.scheduler()
scheduler.enterabs(2, 1, print, ("later",))
scheduler.enterabs(1, 2, print, ("sooner",))
scheduler.run()
print(
    list(difflib.unified_diff(["a"], ["b"], lineterm=""))[-2:],
    difflib.get_close_matches("aple", ["apple", "b"]),
)
