"""A linear model: fitted when the module is imported, asked by many callers."""
import threading

import numpy as np

_rng = np.random.default_rng(1)
_x = _rng.normal(size=(500, 3))
_true = np.array([2.0, -1.0, 0.5])
_y = _x @ _true + 3.0 + _rng.normal(scale=0.01, size=500)
_weights, *_ = np.linalg.lstsq(np.column_stack([_x, np.ones(500)]), _y, rcond=None)


def predict(rows):
    """One prediction for each row of three numbers."""
    rows = np.asarray(rows, dtype=float)
    return (rows @ _weights[:3] + _weights[3]).tolist()


def where():
    """The thread that serves."""
    return threading.get_native_id()
