"""Cycles are collected, and their finalizers run."""

import gc


class Node:
    def __del__(self):
        print("collected")


node = Node()
node.self = node
del node
print(gc.collect() > 0, gc.isenabled(), len(gc.get_threshold()))
