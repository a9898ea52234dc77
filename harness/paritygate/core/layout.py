"""Array layouts as shape letters: conversion between two layouts, and the choice of real (not padded) rows.

A layout is a string of axes separated by spaces: `B T N H`. `(B T) D` is one merged axis, `1` an axis of size one.
`B` is batch, `T` query time, `S` key time; padding lives on these only. `I` is tiles of pictures, `P` patches.
"""

import numpy as np

from paritygate.core.errors import UsageError


def parse(layout: str) -> tuple[tuple[str, ...], ...]:
    """`"E (B T) D"` → `(("E",), ("B", "T"), ("D",))`; raises UsageError on anything else."""
    groups: list[tuple[str, ...]] = []
    merged: list[str] | None = None
    for word in layout.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(" and merged is None:
            merged = []
        elif word == ")" and merged:
            groups.append(tuple(merged))
            merged = None
        elif word.isalnum():
            if merged is None:
                groups.append((word,))
            else:
                merged.append(word)
        else:
            raise UsageError(
                "bad layout", where=repr(layout), expected="axes such as 'B T D', 'E (B T) D' or 'B 1 T S'"
            )
    letters = [axis for group in groups for axis in group if axis != "1"]
    if merged is not None or len(set(letters)) != len(letters):
        raise UsageError("bad layout", where=repr(layout), expected="closed brackets and each letter once")
    return tuple(groups)


def convert(array: np.ndarray, source: str, target: str, sizes: dict[str, int]) -> np.ndarray:
    """Rearranges `array` from layout `source` to layout `target`.

    `sizes` gives the lengths of the axes that a merged axis is split into. Raises ValueError with both sides when
    the shape does not fit the layout.
    """
    groups = parse(source)
    if array.ndim != len(groups) or any(
        group == ("1",) and length != 1 for group, length in zip(groups, array.shape, strict=True)
    ):
        raise ValueError(f"shape {array.shape} does not fit layout '{source}'")
    if source == target:
        return array
    lengths: dict[str, int] = {}
    split: list[int] = []
    for group, length in zip(groups, array.shape, strict=True):
        known = [1 if axis == "1" else sizes.get(axis) for axis in group] if len(group) > 1 else [length]
        if known.count(None) == 1:
            rest = int(np.prod([k for k in known if k is not None]))
            known[known.index(None)] = length // rest if rest else 0
        sized = [axis_length for axis_length in known if axis_length is not None]
        if None in known or int(np.prod(sized)) != length:
            raise ValueError(
                f"axis of {length} does not fit '{' '.join(group)}' of layout '{source}' with sizes {sizes}"
            )
        split += sized
        lengths |= dict(zip(group, sized, strict=True))
    axes = [axis for group in groups for axis in group]
    kept = [i for i, axis in enumerate(axes) if axis != "1"]
    array = array.reshape(split).reshape([split[i] for i in kept])
    axes = [axes[i] for i in kept]
    wanted = [axis for group in parse(target) for axis in group if axis != "1"]
    if sorted(wanted) != sorted(axes):
        raise ValueError(f"layouts '{source}' and '{target}' have different axes")
    array = array.transpose([axes.index(axis) for axis in wanted])
    lengths["1"] = 1
    return array.reshape([int(np.prod([lengths[axis] for axis in group])) for group in parse(target)])


def real_rows(array: np.ndarray, layout: str, real: np.ndarray | None) -> np.ndarray:
    """The values of `array` that stem from real tokens, as rows.

    `real` is the Bool (B, T) map of real tokens, or None when every token is real. Axes `B` and `T` (or `B` and `S`
    where there is no `T`) come first and only their real pairs are kept: (rows, features). A layout with `B` alone
    gives one row per sequence. Without `B`, each patch of each tile is a row, and real, by the axes `I` and `P` that
    there are; without those too there is a single row.
    """
    groups = parse(layout)
    axes = {axis for group in groups for axis in group}
    time = "T" if "T" in axes else "S"
    masked = "B" in axes and time in axes
    if "B" in axes:
        rows = ["B", time] if masked else ["B"]
    else:
        rows = [axis for axis in ("I", "P") if axis in axes]
    if not rows:
        return array.reshape(1, array.size)
    if real is None and masked:
        real = np.ones(_tokens_shape(array.shape, groups, time), bool)
    sizes = {} if real is None else dict(zip("BT" if time == "T" else "BS", real.shape, strict=True))
    # Axes merged with neither stay merged: their lengths need not be known.
    kept = [group if set(group) & set(rows) else ("".join(group),) for group in groups]
    features = [axis for group in kept for axis in group if axis not in (*rows, "1")]
    source = " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in kept)
    array = convert(array, source, " ".join([*rows, *features]), sizes)
    width = int(np.prod(array.shape[len(rows) :]))
    count = len(rows)
    if masked:
        array, count = array[real], 1
    return array.reshape(int(np.prod(array.shape[:count])), width)


def _tokens_shape(shape: tuple[int, ...], groups: tuple[tuple[str, ...], ...], time: str) -> tuple[int, int]:
    """(B, T) of a value all of whose tokens are real."""
    lengths = dict(zip(groups, shape, strict=True))
    if ("B",) in lengths and (time,) in lengths:
        return lengths["B",], lengths[time,]
    if ("B", time) in lengths:
        return 1, lengths["B", time]  # any split of the merged axis gives the same rows
    raise ValueError(f"layout {groups} needs the map of real tokens")
