"""The program runs in the main process."""

import multiprocessing

print(multiprocessing.current_process().name, multiprocessing.parent_process())
print(multiprocessing.active_children(), multiprocessing.cpu_count() > 0)
