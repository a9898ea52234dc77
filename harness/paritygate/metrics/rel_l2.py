"""Relative L2 drift: how large the difference is, as a whole, against the golden.

Formula: ‖got - golden‖₂ / ‖golden‖₂ over all real rows, in float64.
Range: 0 (exact) upwards; 1 is the drift of an all-zero candidate. Both zero: 0. Golden zero, candidate not: 1e300.
Better: lower.

>>> compute(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]]), "float32")
0.1
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric, difference, norm, quotient


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    return quotient(norm(difference(golden, got)), norm(golden))


METRIC = Metric("rel_l2", (Kind.FLOAT,), unit="relative", better="lower", compute=compute)
