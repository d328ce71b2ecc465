"""Weak references, finalizers and weak dictionaries."""

import gc
import weakref


class A:
    pass


a = A()
ref = weakref.ref(a, lambda _: print("gone"))
weakref.finalize(a, print, "finalized")
names = weakref.WeakValueDictionary(a=a)
print(ref() is a, list(names))
del a
gc.collect()
print(ref(), list(names))
