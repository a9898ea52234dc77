"""Largest absolute difference: the one element that a mean over many would hide.

Formula: max |got - golden| over all real rows, in the value's own units.
Range: 0 (exact) upwards, at most 1e300.
Better: lower.

>>> compute(np.array([[1.0, -2.0]]), np.array([[1.25, -2.0]]), "float32")
0.25
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric, difference


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    return float(np.abs(difference(golden, got)).max())


METRIC = Metric("max_abs", (Kind.FLOAT,), unit="absolute", better="lower", compute=compute, absolute=True)
