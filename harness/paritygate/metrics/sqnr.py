"""Signal to quantisation-noise ratio: rel_l2 on the scale on which each bit of precision is worth 6 dB.

Formula: 20 log₁₀(‖golden‖₂ / ‖got - golden‖₂) dB.
Range: -400 to 400 dB; 400 stands for exact, -400 for a golden of zero whose candidate is not. bf16 gives about 50.
Better: higher.

>>> compute(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]]), "float32")
20.0
"""

import math

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric, difference, norm

CAP_DB = 400.0  # float64's own roundoff is 319 dB


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    signal, noise = norm(golden), norm(difference(golden, got))
    if noise == 0.0 or signal == 0.0:
        return CAP_DB if noise == 0.0 else -CAP_DB
    return min(max(20.0 * (math.log10(signal) - math.log10(noise)), -CAP_DB), CAP_DB)


METRIC = Metric("sqnr", (Kind.FLOAT,), unit="dB", better="higher", compute=compute)
