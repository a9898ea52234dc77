"""Array layouts as shape letters: conversion between two layouts, and the choice of real (not padded) rows.

A layout is a string of axes separated by spaces: `B T N H`. `(B T) D` is one merged axis, `1` an axis of size one.
`B` is batch, `T` query time, `S` key time; padding lives on `B`, `T` and `S` only.
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
            raise UsageError("bad layout", where=repr(layout), expected="axes such as 'B T D', 'E (B T) D' or 'B 1 T S'")
    letters = [axis for group in groups for axis in group if axis != "1"]
    if merged is not None or len(set(letters)) != len(letters):
        raise UsageError("bad layout", where=repr(layout), expected="closed brackets and each letter once")
    return tuple(groups)


def convert(array: np.ndarray, source: str, target: str, sizes: dict[str, int]) -> np.ndarray:
    """Rearranges `array` from layout `source` to layout `target`.

    `sizes` gives the lengths of the axes that a merged axis is split into. Raises ValueError with both sides when
    the shape does not fit the layout.
    """
    if source == target:
        if array.ndim != len(parse(source)):
            raise ValueError(f"shape {array.shape} does not fit layout '{source}'")
        return array
    groups = parse(source)
    if array.ndim != len(groups):
        raise ValueError(f"shape {array.shape} does not fit layout '{source}'")
    lengths: dict[str, int] = {}
    split: list[int] = []
    for group, length in zip(groups, array.shape, strict=True):
        known = [1 if axis == "1" else sizes.get(axis) for axis in group] if len(group) > 1 else [length]
        if known.count(None) == 1:
            rest = int(np.prod([k for k in known if k is not None]))
            known[known.index(None)] = length // rest if rest else 0
        if None in known or int(np.prod(known)) != length or (group == ("1",) and length != 1):  # type: ignore[arg-type]
            raise ValueError(f"axis of {length} does not fit '{' '.join(group)}' of layout '{source}' with sizes {sizes}")
        split += [int(k) for k in known if k is not None]
        lengths |= dict(zip(group, split[-len(group) :], strict=True))
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
    where there is no `T`) come first and only their real pairs are kept: (rows, features). Layouts without them are
    returned as (1, features).
    """
    groups = parse(layout)
    axes = [axis for group in groups for axis in group]
    time = "T" if "T" in axes else "S"
    if "B" not in axes or time not in axes:
        return array.reshape(1, -1) if "B" not in axes else array.reshape(array.shape[0], -1)
    if real is None:
        real = np.ones(_tokens_shape(array.shape, groups, time), bool)
    sizes = {"B": real.shape[0], time: real.shape[1], "S": real.shape[1]}
    rest = [axis for axis in axes if axis not in ("B", time, "1")]
    array = convert(array, layout, " ".join(["B", time, *rest]), sizes)
    return array[real].reshape(int(real.sum()), int(np.prod(array.shape[2:])))


def _tokens_shape(shape: tuple[int, ...], groups: tuple[tuple[str, ...], ...], time: str) -> tuple[int, int]:
    """(B, T) of a value all of whose tokens are real."""
    lengths = dict(zip(groups, shape, strict=True))
    if ("B",) in lengths and (time,) in lengths:
        return lengths["B",], lengths[time,]
    if ("B", time) in lengths:
        return 1, lengths["B", time]  # any split of the merged axis gives the same rows
    raise ValueError(f"layout {groups} needs the map of real tokens")
