"""The map of a value's difference, tokens down and channels across. Reads and writes nothing."""

from collections.abc import Sequence
from math import ceil, prod

import numpy as np

from paritygate.core.error_map import EQUAL, LONGEST, MOST_BLOCKS, NONFINITE, NOTHING, ONE, ErrorMap, MapAxis
from paritygate.core.layout import convert
from paritygate.core.site import Kind
from paritygate.metrics.axes import letters_of, sizes_of, token_numbers
from paritygate.metrics.base import difference, norm


def error_map(
    golden: np.ndarray,
    got: np.ndarray,
    *,
    kind: Kind,
    layout: str,
    real: np.ndarray | None,
    tokens: np.ndarray | None = None,
) -> ErrorMap | None:
    """The map of `got` against `golden`, both in `layout`; None where all is equal, or there is one element only.

    `real` (Bool, B T) marks the real tokens and `tokens` (Int, B T) numbers them, as for `measure`. What padding holds
    changes nothing.
    """
    time, sizes = sizes_of(layout, real)
    letters, split = letters_of(layout, sizes)
    down, across = _sides(letters, time)
    ours, theirs = (convert(side, split, " ".join([*down, *across]), sizes) for side in (golden, got))
    lengths, first, place = list(ours.shape), [0] * ours.ndim, ()
    if real is not None and down == ["B", time]:
        rows, slots = np.nonzero(real)
        if not rows.size:
            return None
        numbers = (token_numbers(real) if tokens is None else tokens)[rows, slots]
        first[1] = int(numbers.min())
        place = (rows, numbers - first[1])
        lengths[1] = int(place[1].max()) + 1
        ours, theirs = ours[real], theirs[real]
    if ours.size < 2 or np.array_equal(ours, theirs):
        return None

    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    broken = ~np.isfinite(theirs)
    size = np.abs(difference(ours, theirs)) if kind is Kind.FLOAT else (ours != theirs).astype(np.float64)
    size[broken] = 0.0
    peak = float(size.max())
    whole = norm(ours) / ours.size**0.5 if kind is Kind.FLOAT else 1.0

    k, steps = len(down), _steps(lengths, len(down))
    squares = _in_blocks(_laid(np.square(size / (peak or 1.0)), place, lengths), steps)
    counted = np.outer(
        _in_blocks(_laid(np.ones(len(ours)) if place else np.ones(lengths[:k]), place, lengths[:k]), steps[:k]),
        _in_blocks(np.ones(lengths[k:]), steps[k:]),
    ).reshape(squares.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = 0.5 * np.log2(squares / counted) + np.log2(peak) - np.log2(whole)
    levels = np.clip(np.round(ONE + 2.0 * octaves), EQUAL + 1, NONFINITE - 1)
    levels = np.where(squares > 0.0, levels, EQUAL)
    if broken.any():
        levels[_in_blocks(_laid(broken.astype(np.float64), place, lengths), steps) > 0.0] = NONFINITE
    levels = np.where(counted > 0.0, levels, NOTHING).astype(np.uint8)
    axes = [MapAxis(*each) for each in zip([*down, *across], lengths, steps, first, strict=True)]
    return ErrorMap.of(tuple(axes[:k]), tuple(axes[k:]), levels.tobytes())


def _sides(letters: list[str], time: str) -> tuple[list[str], list[str]]:
    """The axes of rows, as the metrics have them, and the rest; with one side only the last axis is across."""
    if "B" in letters:
        down = ["B", time] if time in letters else ["B"]
    else:
        down = [letter for letter in letters if letter in "IP"] or letters[:-1]
    across = [letter for letter in letters if letter not in down]
    return (down, across) if across else (down[:-1], down[-1:])


def _steps(lengths: Sequence[int], down: int) -> list[int]:
    """How many indices of each axis are a block: powers of two, so that edges at powers of two lie between blocks.

    The longer side is made coarser, its inner axis first.
    """
    steps = [1] * len(lengths)

    def blocks(axes: range) -> int:
        return prod(ceil(lengths[i] / steps[i]) for i in axes)

    sides = range(down), range(down, len(lengths))
    while True:
        height, width = map(blocks, sides)
        if height * width <= MOST_BLOCKS and max(height, width) <= LONGEST:
            return steps
        steps[next(i for i in reversed(sides[height < width]) if steps[i] < lengths[i])] *= 2


def _laid(values: np.ndarray, place: tuple[np.ndarray, ...], lengths: Sequence[int]) -> np.ndarray:
    """What is given for real tokens, where the map has these; zero elsewhere."""
    if not place:
        return values
    laid = np.zeros(lengths)
    laid[place] = values
    return laid


def _in_blocks(values: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Sums over the blocks of each axis."""
    for axis, step in enumerate(steps):
        if step > 1:
            values = np.add.reduceat(values, np.arange(0, values.shape[axis], step), axis=axis)
    return values
