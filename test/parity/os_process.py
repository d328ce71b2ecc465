"""The process as os sees it."""

import os

print(os.getpid() > 1, os.path.isdir(os.getcwd()), os.name, os.sep, os.linesep == "\n")
print(os.path.expanduser("~user_that_is_not_there"), os.cpu_count() > 0)
read, write = os.pipe()
os.write(write, b"through")
print(os.read(read, 100), os.isatty(read))
os.close(read)
os.close(write)
