"""The examples in the docstrings of the program are run by doctest."""

import doctest


def double(x):
    """Twice as much.

    >>> double(2)
    4
    >>> double("ab")
    'abab'
    """
    return x * 2


print(doctest.testmod())
