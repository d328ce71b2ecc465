"""Abstract classes can't be made, and classes are registered."""

import abc
import collections.abc


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def area(self):
        return 4


class Other:
    pass


Shape.register(Other)
try:
    Shape()
except TypeError as error:
    print("abstract" in str(error))
print(Square().area(), isinstance(Other(), Shape), isinstance([], collections.abc.Sequence))
