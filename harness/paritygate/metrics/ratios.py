"""The histogram of got / golden, element by element. Reads and writes nothing."""

import numpy as np

from paritygate.core.ratios import MOST, PER_OCTAVE, Ratios
from paritygate.metrics.base import difference, norm

_TELLING = 2.0**-6  # a smaller difference, relative to the golden, lies within the bin of 1


def ratios(golden: np.ndarray, got: np.ndarray) -> Ratios | None:
    """Counts of (rows, features) in float64, finite; None where the two differ too little to tell."""
    if not norm(difference(golden, got)) > _TELLING * norm(golden):
        return None
    both = (golden != 0.0) & (got != 0.0)
    zero = int(np.count_nonzero((golden != 0.0) ^ (got != 0.0)))
    ours, theirs = golden[both], got[both]
    if not ours.size:
        return None
    octaves = np.log2(np.abs(theirs)) - np.log2(np.abs(ours))
    bins = np.clip(np.round(PER_OCTAVE * octaves), -MOST, MOST).astype(np.int64)
    opposite = np.signbit(ours) != np.signbit(theirs)
    first = int(bins.min())
    counts = [np.bincount(bins[of] - first, minlength=int(bins.max()) - first + 1) for of in (~opposite, opposite)]
    beside = np.array(counts)
    if first <= 0 < first + beside.shape[1]:
        beside[0, -first] = 0  # what is right says nothing of a factor
    sign, fullest = np.unravel_index(int(np.argmax(beside)), beside.shape)
    inside = (bins - first == fullest) & (opposite == bool(sign))
    typical = float(2.0 ** np.median(octaves[inside]))
    same, other = (tuple(int(count) for count in each) for each in counts)
    share = float(np.count_nonzero(inside)) / (ours.size + zero)
    return Ratios(first, same, other, zero, float(f"{-typical if sign else typical:.6g}"), float(f"{share:.4g}"))
