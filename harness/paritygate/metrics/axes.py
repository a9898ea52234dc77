"""The axes of a value that can be told apart, for what is said of places in it. Reads and writes nothing."""

import numpy as np

from paritygate.core.layout import parse


def letters_of(layout: str, sizes: dict[str, int]) -> tuple[list[str], str]:
    """The axes that can be told apart, and the layout in their words: merged ones of unknown lengths stay one."""
    groups = [group if sum(axis not in sizes for axis in group) <= 1 else ("".join(group),) for group in parse(layout)]
    split = " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in groups)
    return [axis for group in groups for axis in group if axis != "1"], split


def sizes_of(layout: str, real: np.ndarray | None) -> tuple[str, dict[str, int]]:
    """The letter of a value's time, `T`, or `S` where it has no `T`; and the lengths that `real` (Bool, B T) gives."""
    letters = {axis for group in parse(layout) for axis in group}
    time = "T" if "T" in letters or "S" not in letters else "S"
    return time, {} if real is None else dict(zip(("B", time), real.shape, strict=True))


def token_numbers(real: np.ndarray) -> np.ndarray:
    """Int (B, T): tokens counted from the first real one of their row."""
    return np.arange(real.shape[1]) - real.argmax(axis=1)[:, None]
