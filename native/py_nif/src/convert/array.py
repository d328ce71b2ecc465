"""Describes numpy's arrays: an element type and memory.

Runs once in each interpreter that needs it; `describe` is called with the object whose memory is
asked for.
"""
import sys


def describe(value):
    """The element type as `numpy.dtype` takes it, and what exports the memory.

    None if it is no array of numpy's. The element type is None if it has no such description.
    """
    numpy = sys.modules.get("numpy")
    kinds = tuple(getattr(numpy, name) for name in ("ndarray", "generic") if hasattr(numpy, name))
    if not isinstance(value, kinds):
        return None
    dtype = value.dtype
    if not dtype.hasobject and dtype.itemsize and (dtype.names is not None or dtype.kind in "mM"):
        # numpy exports no memory that holds dates or spans of time. As bytes it does.
        value = numpy.asarray(value).view(f"V{dtype.itemsize}")
    described = _element(numpy, dtype)
    return (described if _is_same(numpy, described, dtype) else None), value


def _element(numpy, dtype):
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return _element(numpy, base), shape
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return {
            "names": list(dtype.names),
            "formats": [_element(numpy, field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        }
    # `str64`, the name of texts of two characters, is not known as one.
    return dtype.name if _is_same(numpy, dtype.name, dtype) else dtype.str


def _is_same(numpy, described, dtype):
    try:
        return numpy.dtype(described) == dtype
    except (TypeError, ValueError):
        return False
