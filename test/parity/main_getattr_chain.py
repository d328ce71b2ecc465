"""A dotted name of the program is found by pkgutil and operator."""

import operator
import pkgutil
import sys


class Outer:
    class Inner:
        value = 7


print(operator.attrgetter("Outer.Inner.value")(sys.modules["__main__"]))
print(pkgutil.resolve_name("__main__:Outer.Inner").value)
