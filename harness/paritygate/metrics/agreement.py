"""Agreement of discrete values: router choices, tokens, masks. There is no rounding in a choice.

Formula: the fraction of elements that are equal, over all real rows.
Range: 0 to 1; 1 is every element equal.
Better: higher. Judged as 1 - agreement, the fraction that differs.

>>> compute(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[0.0, 1.0], [2.0, 7.0]]), "int32")
0.75
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    return float(np.count_nonzero(golden == got)) / golden.size


METRIC = Metric("agreement", (Kind.INDEX, Kind.MASK), unit="fraction", better="higher", compute=compute)
