"""NewType, Literal, Annotated, Final and cast."""

import typing

Id = typing.NewType("Id", int)
print(Id(3), Id.__module__, typing.get_args(typing.Literal["a", 1]))
print(typing.Annotated[int, "meta"].__metadata__)
print(typing.cast(str, 3), typing.get_origin(list[int]), int | None)
