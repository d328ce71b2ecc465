"""Values of the library are pickled by every protocol."""

import datetime
import decimal
import fractions
import pickle

value = {
    "d": datetime.date(2020, 2, 29),
    "x": decimal.Decimal("1.50"),
    "f": fractions.Fraction(1, 3),
    "s": {1, 2},
    "b": b"\0\xff",
    "n": None,
}
print([pickle.loads(pickle.dumps(value, protocol)) == value for protocol in range(6)])
