"""The syntax of type parameters and type aliases."""
# requires: 3.12
type Pair[T] = tuple[T, T]


def first[T](items: list[T]) -> T:
    return items[0]


class Stack[T]:
    pass


print(Pair.__type_params__, first.__type_params__, Stack[int], Pair.__module__, first([4]))
