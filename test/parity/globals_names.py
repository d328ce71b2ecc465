"""The names at the top are those that the program has, and what a module begins with."""

first = 1
second = 2
print(sorted(name for name in globals() if not name.startswith("_")))
print(sorted(name for name in dir() if not name.startswith("_")))
