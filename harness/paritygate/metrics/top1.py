"""Top-1 agreement of logits: the fraction of positions at which both sides would say the same token.

Formula: the fraction of rows with argmax(golden) = argmax(got); of equal largest values the first counts.
Range: 0 to 1; 1 is the same token everywhere.
Better: higher. Judged as 1 - top1, the fraction that differs.

>>> compute(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.4, 0.6], [0.5, 0.6]]), "float32")
0.5
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    return float(np.mean(golden.argmax(axis=1) == got.argmax(axis=1)))


METRIC = Metric("top1", (Kind.FLOAT,), unit="fraction", better="higher", compute=compute, role="logits")
