"""Where in a value the difference sits: on which axes it concentrates beyond chance and beyond the golden's own size.

Reads and writes nothing.
"""

import math

import numpy as np

from paritygate.core.layout import convert
from paritygate.core.where import Where
from paritygate.metrics.axes import letters_of, sizes_of, token_numbers

MOST_AXES = 3
MOST_PLACES = 8
_NEARLY_ALL = 0.98  # the share of the squared difference that a part must hold
_QUIET = 0.05  # outside a part, the squared difference is at most this much of what an even spread would put there
_SURPRISE = 4.0  # e^-4: how likely that many elements are to lie in a span, or a half, by chance, at most
_HALVED = "DHFVXYZ"  # axes on which every second place may mean something


def where(
    size: np.ndarray,
    golden: np.ndarray | None,
    layout: str,
    real: np.ndarray | None,
    tokens: np.ndarray | None,
) -> tuple[Where, ...]:
    """The axes of which a part holds nearly all of the difference, the most telling first; none where it is everywhere.

    `size` is the difference's magnitude (or which elements differ) and `golden` the golden, both in `layout`; without a
    golden the difference is held against an even spread only. `real` (Bool, B T) marks the real tokens, `tokens`
    (Int, B T) numbers them, by default from the first real one of each row.
    """
    time, sizes = sizes_of(layout, real)
    letters, split = letters_of(layout, sizes)
    size = convert(size, split, " ".join(letters), sizes)
    counted = np.ones(size.shape)
    if real is not None and {"B", time} <= set(letters):
        counted = counted * _broadcast(real, ("B", time), letters)
    weight, own = _squared(size, counted), counted
    if not weight.any():
        return ()
    if golden is not None:
        own = _squared(np.abs(convert(golden, split, " ".join(letters), sizes)), counted)
    # How many equal differences would weigh as much: one that outweighs all others is one.
    elements = float(weight.sum()) ** 2 / float(np.square(weight).sum())

    found: list[tuple[float, Where]] = []
    for axis in letters:
        if axis == "S" and time == "T" and real is not None:
            keys = _padding(weight, letters, real)
            if keys is not None:
                found.append((math.inf, keys))
                continue
        numbers = tokens if axis == time and "B" in letters else None
        if numbers is None and real is not None and axis == time and "B" in letters:
            numbers = token_numbers(real)
        held, golden_held, count = (_along(side, letters, axis, numbers) for side in (weight, own, counted))
        first = 0 if numbers is None else int(numbers.min())
        part = _part(axis, held, golden_held, count, elements, first)
        if part is not None:
            found.append(part)
    found.sort(key=lambda pair: -pair[0])
    return tuple(part for _, part in found[:MOST_AXES])


def _squared(size: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The squares of what is counted, the largest being 1; all zero where nothing is there."""
    size = np.where(counted > 0, size, 0.0)
    return np.square(size / (size.max(initial=0.0) or 1.0))


def _broadcast(array: np.ndarray, axes: tuple[str, str], letters: list[str]) -> np.ndarray:
    """An array over two axes as one over all of them."""
    lengths = dict(zip(axes, array.shape, strict=True))
    array = array if letters.index(axes[0]) < letters.index(axes[1]) else array.T
    return array.reshape([lengths.get(letter, 1) for letter in letters])


def _along(side: np.ndarray, letters: list[str], axis: str, numbers: np.ndarray | None) -> np.ndarray:
    """The sums over everything but one axis; of tokens, by their number."""
    kept = [axis] if numbers is None else ["B", axis]
    sums = side.sum(axis=tuple(i for i, letter in enumerate(letters) if letter not in kept))
    if numbers is None:
        return sums
    sums = sums if letters.index("B") < letters.index(axis) else sums.T
    return np.bincount((numbers - numbers.min()).ravel(), sums.ravel())


def _padding(weight: np.ndarray, letters: list[str], real: np.ndarray) -> Where | None:
    """Keys that are padding, where they hold nearly all of the difference."""
    if "B" not in letters or real.all() or weight.shape[letters.index("S")] != real.shape[1]:
        return None
    share = float((weight * _broadcast(~real, ("B", "S"), letters)).sum() / weight.sum())
    return Where("S", "padding", (), real.shape[1], round(share, 4)) if share >= _NEARLY_ALL else None


def _part(
    axis: str, weight: np.ndarray, own: np.ndarray, counted: np.ndarray, elements: float, first: int
) -> tuple[float, Where] | None:
    """The smallest part of one axis that holds nearly all, and how telling that is: how small the part is."""
    kept = np.flatnonzero(counted)
    size = kept.size
    if size < 2:
        return None
    weight, own, counted = (side[kept] / (side[kept].sum() or 1.0) for side in (weight, own, counted))
    sets: list[tuple[str, np.ndarray]] = []
    start = _onset(weight, counted)
    stop = size - _onset(weight[::-1], counted[::-1])
    if (start, stop) != (0, size) and start < stop:
        sets.append(("span", np.arange(start, stop)))
    order = np.argsort(-weight, kind="stable")
    few = int(np.searchsorted(np.cumsum(weight[order]), _NEARLY_ALL)) + 1
    if few <= min(MOST_PLACES, max(1, size // 3)):
        sets.append(("at", np.sort(order[:few])))
    if axis in _HALVED and size >= 4:
        sets += [("even", np.arange(0, size, 2)), ("odd", np.arange(1, size, 2))]

    best: tuple[float, Where] | None = None
    for pattern, places in sets:
        share, expected = float(weight[places].sum()), max(float(own[places].sum()), float(counted[places].sum()))
        if share < _NEARLY_ALL or expected >= 1.0 or 1.0 - share > _QUIET * (1.0 - expected):
            continue
        telling = -math.log(expected)
        if pattern != "at" and elements * telling < _SURPRISE:
            continue
        if best is None or telling > best[0]:
            best = telling, _named(axis, pattern, kept[places] + first, kept[[0, -1]] + first, size, share)
    return best


def _onset(weight: np.ndarray, counted: np.ndarray) -> int:
    """The first place before which there is next to nothing, measured by what is there; 0 where there is none."""
    density = weight / counted
    before = np.cumsum(weight)[:-1] / np.cumsum(counted)[:-1]
    found = np.flatnonzero((density[1:] > 0.0) & (before <= _QUIET * np.minimum(density[1:], 1.0)))
    return int(found[0]) + 1 if found.size else 0


def _named(axis: str, pattern: str, places: np.ndarray, ends: np.ndarray, size: int, share: float) -> Where:
    first, last = int(places[0]), int(places[-1])
    share = round(share, 4)
    if pattern in ("even", "odd"):
        return Where(axis, "even" if pattern == "even" else "odd", (), size, share)
    if places.size == 1 or (pattern == "at" and (places.size < 3 or last - first + 1 != places.size)):
        return Where(axis, "at", tuple(int(place) for place in places), size, share)
    if last == ends[1]:
        return Where(axis, "from", (first,), size, share)
    if first == ends[0]:
        return Where(axis, "to", (last,), size, share)
    return Where(axis, "between", (first, last), size, share)
