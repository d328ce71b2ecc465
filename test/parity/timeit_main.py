"""timeit's setup imports the functions of the program from __main__."""

import timeit


def work():
    return 1


print(timeit.timeit("work()", setup="from __main__ import work", number=3) > 0)
