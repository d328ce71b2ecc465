"""Functions of the C library are called, also back into Python."""

import ctypes

libc = ctypes.CDLL(None)
print(libc.abs(-3), ctypes.sizeof(ctypes.c_int64))
compare = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
)(lambda a, b: a[0] - b[0])
items = (ctypes.c_int * 3)(3, 1, 2)
libc.qsort(items, 3, ctypes.sizeof(ctypes.c_int), compare)
print(list(items))
