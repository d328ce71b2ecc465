"""Values without a term of their own as values that have one.

Runs once in each interpreter that needs it; `plain` is called with the value. It looks only at
modules that are loaded: nobody has a Decimal who has not imported decimal.
"""
import sys


def _classes(module, *names):
    module = sys.modules.get(module)
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


def _is(value, module, *names):
    return module in sys.modules and isinstance(value, _classes(module, *names))


# Not list(value): if the items are made in C it neither sees an interrupt nor lets another thread
# in before the last one, and there may be no last one.
def _items(value):
    return [item for item in value]


# The list is allocated first, because there may be no memory for so many.
def _numbers(value, at_once=10_000):
    numbers = [None] * len(value)
    for start in range(0, len(value), at_once):
        numbers[start : start + at_once] = value[start : start + at_once]
    return numbers


# ISO 8601. Of the value that stands for no time at all (pandas' NaT) it is no such text.
def _time(value):
    text = value.isoformat()
    return None if text == "NaT" else text


def _duration(value):
    if hasattr(value, "isoformat"):
        # A subclass that knows more than microseconds (pandas' Timedelta).
        return value.isoformat()
    return _seconds((value.days * 86_400 + value.seconds) * 10**6 + value.microseconds, 6)


def _seconds(count, digits):
    """So many 10**-digits of a second as an ISO 8601 duration, which is exact."""
    whole, rest = divmod(abs(count), 10**digits)
    fraction = f".{rest:0{digits}}".rstrip("0") if rest else ""
    return f"{'-' if count < 0 else ''}PT{whole}{fraction}S"


_TEXTS = (
    ("datetime", ("datetime", "date", "time"), _time),
    ("datetime", ("timedelta",), _duration),
    ("decimal", ("Decimal",), str),
    ("fractions", ("Fraction",), str),
    ("uuid", ("UUID",), str),
    ("pathlib", ("PurePath",), str),
    ("collections", ("UserString",), str),
)

# The texts of instances of exactly these classes, once they have been met: rows have many.
_met = {}


def _text(value):
    for module, names, text in _TEXTS:
        if _is(value, module, *names):
            if type(value) in _classes(module, *names):
                _met[type(value)] = text
            return text
    return None


# The ends of numpy's units of time, as ISO 8601 has them, or how many digits of a second they are.
_UNITS = {"Y": "P{}Y", "M": "P{}M", "W": "P{}W", "D": "P{}D", "h": "PT{}H", "m": "PT{}M"}
_UNITS.update(s=0, ms=3, us=6, ns=9, ps=12, fs=15)
_UNITS["as"] = 18


def _scalar(numpy, value):
    """A scalar of numpy's that is no number."""
    kind = value.dtype.kind
    if kind in "mM" and numpy.isnat(value):
        return None
    if kind == "M":
        return str(value)
    if kind == "m":
        unit, step = numpy.datetime_data(value.dtype)
        count = int(value.astype("i8")) * step
        form = _UNITS.get(unit)
        if form is None:
            return count
        if isinstance(form, int):
            return _seconds(count, form)
        return ("-" if count < 0 else "") + form.format(abs(count))
    return (value.real, value.imag) if kind == "c" else value.item()


def _array(numpy, value):
    """A nested list. What isn't made of numbers or texts is taken apart step by step."""
    dtype = value.dtype
    if dtype.names is not None and value.ndim == 0:
        return tuple(value[name] for name in dtype.names)
    if dtype.names is None and dtype.kind not in "mMc":
        return value.tolist()
    if not _is(value, "numpy.ma", "MaskedArray"):
        # The parts of a matrix are matrices of the same shape.
        value = numpy.asarray(value)
        if dtype.kind == "M" and not numpy.isnat(value).any():
            return numpy.datetime_as_string(value).tolist()
    return _items(value) if value.ndim else value[()]


def _is_like_text(value, levels=100):
    """Whether the items are the sequence's own kind without end, as the letters of a str are."""
    if _is(value, "_collections_abc", "MutableSequence"):
        # May well contain itself.
        return False
    kind = type(value)
    for _ in range(levels):
        value = next(iter(value), None)
        if type(value) is not kind:
            return False
    return True


def plain(value):
    text = _met.get(type(value))
    if text is not None:
        return text(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, range):
        return _numbers(value)
    if isinstance(value, complex):
        return value.real, value.imag
    if _is(value, "enum", "Enum"):
        return value.value
    text = _text(value)
    if text is not None:
        return text(value)
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is(value, "numpy", "ndarray") or (
        _is(value, "numpy", "void") and value.dtype.names is not None
    ):
        return _array(sys.modules["numpy"], value)
    if _is(value, "numpy", "datetime64", "timedelta64", "complexfloating", "void"):
        return _scalar(sys.modules["numpy"], value)
    if _is(value, "_collections_abc", "Mapping"):
        return dict(value)
    if _is(value, "_collections_abc", "Sequence") and _is_like_text(value):
        return NotImplemented
    if _is(value, "_collections_abc", "Set", "Sequence", "MappingView", "Iterator"):
        return _items(value)
    if hasattr(type(value), "__next__"):
        return _items(value)
    return NotImplemented
