"""A thread of the program finds the program's names in __main__."""

import threading

setting = 3
found = []


def work():
    import __main__

    found.append(__main__.setting)


thread = threading.Thread(target=work)
thread.start()
thread.join()
print(found)
