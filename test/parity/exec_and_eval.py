"""exec and eval without namespaces use those of where they stand."""

exec("made = 1 + 1")
print(made, eval("made * 10"))


def f():
    inner = 5
    return eval("inner + made")


print(f())
space = {}
exec("z = 3", space)
print(space["z"], "z" in globals(), "__builtins__" in space)
