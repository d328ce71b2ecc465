"""Generic classes, type variables, protocols, typed dicts."""

import typing

T = typing.TypeVar("T")


class Box(typing.Generic[T]):
    pass


@typing.runtime_checkable
class Closes(typing.Protocol):
    def close(self) -> None: ...


class Movie(typing.TypedDict, total=False):
    name: str
    year: "int"


print(Box[int], T.__module__, isinstance(open("/dev/null").__class__, type))
print(issubclass(type("C", (), {"close": lambda self: None}), Closes))
print(Movie.__optional_keys__ == {"name", "year"}, typing.get_type_hints(Movie))
