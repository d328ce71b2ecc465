"""A DeprecationWarning of the program itself is shown, since it is __main__."""

# plain: file
import warnings


def old():
    warnings.warn("old is deprecated", DeprecationWarning, stacklevel=2)


old()
