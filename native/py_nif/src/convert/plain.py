"""What a value without a term of its own stands for, in values that have one.

Runs once in each interpreter that needs it; `plain` is called with the value. It looks only at
modules that are loaded: nobody has a Decimal who has not imported decimal.
"""
import sys


def _is(value, module, *names):
    module = sys.modules.get(module)
    classes = tuple(getattr(module, name) for name in names if hasattr(module, name))
    return isinstance(value, classes)


# Not list(value): if the items are made in C it neither sees an interrupt nor lets another thread in
# before the last one, and there may be no last one.
def _items(value):
    return [item for item in value]


# The room for them comes first, because there may be none for so many.
def _numbers(value, at_once=10_000):
    numbers = [None] * len(value)
    for start in range(0, len(value), at_once):
        numbers[start : start + at_once] = value[start : start + at_once]
    return numbers


def plain(value):
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, range):
        return _numbers(value)
    if _is(value, "enum", "Enum"):
        return value.value
    if _is(value, "datetime", "date", "time"):
        return value.isoformat()
    if (
        _is(value, "decimal", "Decimal")
        or _is(value, "fractions", "Fraction")
        or _is(value, "uuid", "UUID")
        or _is(value, "pathlib", "PurePath")
    ):
        return str(value)
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is(value, "numpy", "ndarray"):
        return value.tolist()
    if _is(value, "numpy", "datetime64"):
        return str(value)
    if _is(value, "_collections_abc", "Mapping"):
        return dict(value)
    if _is(value, "_collections_abc", "Set", "Sequence", "MappingView", "Iterator"):
        return _items(value)
    if hasattr(type(value), "__next__"):
        return _items(value)
    return NotImplemented
