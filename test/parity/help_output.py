"""help writes to standard output."""


def area(width, height=2):
    """The area of a rectangle."""


help(area)
