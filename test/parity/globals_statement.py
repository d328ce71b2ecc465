"""global and nonlocal reach the names that they name."""

total = 0


def add(n):
    global total
    total += n
    seen = []

    def note():
        nonlocal seen
        seen = seen + [n]

    note()
    return seen


print(add(2), add(3), total)
