"""Annotated names at the top are the annotations of __main__."""

import sys
import typing

count: int = 3
name: "str"

print(typing.get_type_hints(sys.modules["__main__"]))
