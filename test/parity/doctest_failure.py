"""A wrong example is reported by doctest."""

import doctest


def wrong():
    """
    >>> 1 + 1
    3
    """


runner = doctest.DocTestRunner(verbose=False)
for test in doctest.DocTestFinder().find(wrong, "wrong", globs={}):
    print(runner.run(test, out=lambda text: print("Expected" in text, "Got" in text)))
