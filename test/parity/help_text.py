"""help prints the documentation of a function of the program."""

import pydoc


def area(width, height=2):
    """The area of a rectangle."""


print(pydoc.plain(pydoc.render_doc(area)))
