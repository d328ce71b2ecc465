"""linecache has the lines of the program and of files."""

# plain: file
import inspect
import linecache


def f():
    return "marked"


print(linecache.getline(inspect.getsourcefile(f), f.__code__.co_firstlineno + 1).strip())
print(linecache.getline(linecache.__file__, 1) != "")
