"""The histogram of a value's differences, in roundoffs of the candidate's dtype. Reads and writes nothing."""

import numpy as np

from paritygate.core.histogram import LEAST, MOST, Histogram
from paritygate.metrics.base import difference, norm, unit_roundoff


def histogram(golden: np.ndarray, got: np.ndarray, dtype: str) -> Histogram | None:
    """Counts of (rows, features) in float64; None where nothing differs."""
    size = np.abs(difference(golden, got)).ravel()
    differing = size[size > 0.0]
    if not differing.size:
        return None
    # By exponents, since the quotient of the two may be more than float64 holds. Of a golden of zero nothing is small.
    roundoff = unit_roundoff(dtype) * (norm(golden) / golden.size**0.5)
    fraction, exponent = np.frexp(differing)
    unit, shift = np.frexp(roundoff)
    bins = exponent - shift - (fraction < unit) if roundoff > 0.0 else np.full(differing.size, MOST)
    bins = np.clip(bins, LEAST, MOST)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    return Histogram(int(size.size - differing.size), first, tuple(int(count) for count in counts))
