"""Largest difference counted in steps of the candidate's dtype: 0.5 is a correctly rounded result.

Formula: max |got - golden| / ulp(golden), ulp(x) = 2^(max(⌊log₂|x|⌋, smallest exponent) - mantissa bits).
Range: 0 (exact) upwards, at most 1e300. Huge where a golden is close to zero by cancellation, right port or not.
Better: lower.

>>> compute(np.array([[1.0, 4.0]]), np.array([[1.0, 4.03125]]), "bfloat16")
1.0
>>> compute(np.array([[1.0, 4.0]]), np.array([[1.0, 4.03125]]), "float32")
65536.0
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import LARGEST, Metric, difference, float_format


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    mantissa_bits, smallest_exponent = float_format(dtype)
    exponent = np.frexp(golden)[1] - 1  # frexp's fraction lies in [0.5, 1)
    exponent = np.where(golden == 0.0, smallest_exponent, np.maximum(exponent, smallest_exponent))
    with np.errstate(over="ignore", under="ignore"):
        steps = np.abs(difference(golden, got)) / np.ldexp(1.0, exponent - mantissa_bits)
    return min(float(steps.max()), LARGEST)


METRIC = Metric("max_ulp", (Kind.FLOAT,), unit="ulp", better="lower", compute=compute)
