"""Closures keep cells, and lambdas bind late."""

functions = [lambda: i for i in range(3)]
print([f() for f in functions], functions[0].__closure__ is not None)


def counter():
    count = 0

    def step():
        nonlocal count
        count += 1
        return count

    return step


step = counter()
step()
print(step(), step.__code__.co_freevars)
