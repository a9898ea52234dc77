"""Cosine of the angle between golden and candidate: blind to a wrong scale, so read it next to rel_l2.

Formula: ⟨golden, got⟩ / (‖golden‖₂ ‖got‖₂) over all real rows taken as one vector.
Range: -1 to 1; 1 is the same direction, 0 also where one side is all zero. Both zero: 1.
Better: higher.

>>> compute(np.array([[1.0, 1.0]]), np.array([[2.0, 2.0]]), "float32")
1.0
>>> compute(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), "float32")
0.0
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    peaks = float(np.abs(golden).max()), float(np.abs(got).max())
    if 0.0 in peaks:
        return 1.0 if peaks == (0.0, 0.0) else 0.0
    with np.errstate(under="ignore"):  # each side by its own peak, so that no square overflows
        one, other = golden.ravel() / peaks[0], got.ravel() / peaks[1]
        cosine = float(np.dot(one, other)) / (float(np.dot(one, one)) * float(np.dot(other, other))) ** 0.5
    return min(max(cosine, -1.0), 1.0)


METRIC = Metric("cosine", (Kind.FLOAT,), unit="", better="higher", compute=compute)
