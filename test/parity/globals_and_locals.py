"""At the top globals, locals and vars are the same."""

x = 1
print(globals() is locals(), vars() is globals(), "x" in globals(), globals()["x"])
globals()["y"] = 2
print(y)


def f(a, b=2):
    c = 3
    return sorted(locals().items())


print(f(1))
