"""A value's error map in words and in characters: what a terminal shows, and what stands beside the page's picture."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, log2, prod

from paritygate.core.drift import Drift
from paritygate.core.error_map import EQUAL, NONFINITE, NOTHING, Edge, ErrorMap, MapAxis, ratio
from paritygate.core.site import Kind
from paritygate.core.where import axis_words
from paritygate.report.evidence import FORMATS
from paritygate.report.words import count

TALLEST, WIDEST = 20, 64  # of a map of characters
NEARLY_ALL = 0.9  # of the squared difference, whose blocks are counted
SHADES = "░▒▓█"
_APART = 2  # blocks between two edges that are drawn, at least

_SHORT = -10  # where the scale of a choice, and of a dtype that has no row in FORMATS, begins

Place = tuple[tuple[MapAxis, tuple[int, int]], ...]


def scale_from(drift: Drift) -> int:
    """The exponent at which a map's scale begins, one rounding; it ends where the difference is the golden's size."""
    if drift.kind != Kind.FLOAT or drift.dtype not in FORMATS:
        return _SHORT
    mantissa, _ = FORMATS[drift.dtype]
    return -(mantissa + 1)


def place_words(place: Place) -> str:
    """`row 1, tokens 8–9, head 4`"""
    found: list[str] = []
    for axis, (first, last) in place:
        one, several = axis_words(axis.letter)
        if axis.size > 1 or len(place) == 1:
            found.append(f"{one} {first}" if first == last else f"{several} {first}–{last}")
    return ", ".join(found)


def map_words(error_map: ErrorMap, kind: str) -> str:
    """What a map shows, for those who do not see it: the worst block, and how many hold nearly all."""
    levels, said = error_map.levels, []
    compared = sum(level != NOTHING for level in levels)
    if broken := levels.count(NONFINITE):
        where = place_words(error_map.place(levels.index(NONFINITE)))
        said.append(f"Not finite in {count(broken)} of {count(compared)} blocks, the first {where}.")
    finite = [0 if level == NONFINITE else level for level in levels]
    worst = max(finite)
    if worst > EQUAL:
        where, size = place_words(error_map.place(finite.index(worst))), ratio(worst)
        much = (
            f"off by about {size:.2g} times the golden's rms" if kind == Kind.FLOAT else f"otherwise in {size**2:.0%}"
        )
        said.append(f"The worst block, {where}, is {much}.")
        counts = sorted(((ratio(level) ** 2, n) for level, n in Counter(finite).items()), reverse=True)
        left, few = NEARLY_ALL * sum(square * n for square, n in counts), 0
        for square, n in counts:
            blocks = min(ceil(left / square), n) if left > 0.0 else 0
            left, few = left - blocks * square, few + blocks
        said.append(f"{count(few)} of {count(compared)} blocks hold {NEARLY_ALL:.0%} of the squared difference.")
    return " ".join(said)


def map_lines(drift: Drift, edges: Sequence[Edge]) -> list[str]:
    """The map in characters, with the indices at which rows, heads, experts and parts begin, and its legend."""
    if drift.error_map is None:
        return []
    small = _small(drift.error_map)
    begins = scale_from(drift)
    breaks = set(_breaks(small.across, edges))
    left = ["", *(_label(small.down, line, edges) for line in range(small.shape[0]))]
    margin = max(map(len, left)) + 1
    lines = [" " * margin + top for top in _top(small.across, breaks)]
    for line, levels in enumerate(small.lines):
        shown = "".join(("│" if i in breaks else "") + _shade(level, begins) for i, level in enumerate(levels))
        lines.append(f"{left[line + 1]:<{margin}}{shown}")
    ends = (f"2^{begins} of the golden", "as large as it") if drift.kind == Kind.FLOAT else ("few", "all otherwise")
    legend = f"· equal  {SHADES[0]} {ends[0]}  {SHADES[-1]} {ends[1]}"
    return [*lines, legend + ("  ! not finite" if NONFINITE in drift.error_map.levels else "")]


def _shade(level: int, begins: int) -> str:
    if level in (NOTHING, EQUAL, NONFINITE):
        return {NOTHING: " ", EQUAL: "·", NONFINITE: "!"}[level]
    part = 1.0 - log2(ratio(level)) / begins
    return SHADES[min(max(int(part * len(SHADES)), 0), len(SHADES) - 1)]


def _small(error_map: ErrorMap) -> ErrorMap:
    """As much coarser as it must be; of blocks that become one the worst is shown."""
    while error_map.shape[0] > TALLEST or error_map.shape[1] > WIDEST:
        sides = [error_map.down, error_map.across]
        side = 0 if error_map.shape[0] > TALLEST else 1
        place = next(i for i in reversed(range(len(sides[side]))) if sides[side][i].blocks > 1)
        axis = sides[side][place]
        sides[side] = (*sides[side][:place], replace(axis, step=axis.step * 2), *sides[side][place + 1 :])
        new = bytearray(prod(axis.blocks for axes in sides for axis in axes))
        for block, level in enumerate(error_map.levels):
            at = 0
            for (old, (first, _)), axis in zip(error_map.place(block), (*sides[0], *sides[1]), strict=True):
                at = at * axis.blocks + (first - old.first) // axis.step
            new[at] = max(new[at], level)
        error_map = ErrorMap.of(sides[0], sides[1], bytes(new))
    return error_map


def _places(axes: tuple[MapAxis, ...], block: int) -> list[int]:
    """The block of each axis, of a block of a whole side."""
    found: list[int] = []
    for axis in reversed(axes):
        block, within = divmod(block, axis.blocks)
        found.append(within)
    return found[::-1]


def _breaks(axes: tuple[MapAxis, ...], edges: Sequence[Edge]) -> Iterator[int]:
    """The blocks of a side, but the first, that begin an index of its outer axes or a part with a name."""
    every = {a.letter: [e.every for e in edges if e.axis == a.letter and e.every >= _APART * a.step] for a in axes}
    for before, block in pairwise(range(prod(axis.blocks for axis in axes))):
        old, new = _places(axes, before), _places(axes, block)
        outer = old[:-1] != new[:-1]
        inner = axes[-1].first + new[-1] * axes[-1].step
        if outer or any(inner // size != (inner - 1) // size for size in every[axes[-1].letter]):
            yield block


def _label(axes: tuple[MapAxis, ...], block: int, edges: Sequence[Edge]) -> str:
    """What begins at a line: an index of an outer axis, and the first index of the inner one."""
    if not axes or (block and block not in set(_breaks(axes, edges))):
        return ""
    places, before = _places(axes, block), _places(axes, block - 1) if block else []
    said = [
        f"{axis_words(axis.letter)[0]} {axis.first + place * axis.step}"
        for i, (axis, place) in enumerate(zip(axes, places, strict=True))
        if i == len(axes) - 1 or places[: i + 1] != before[: i + 1]
        if axis.size > 1 or len(axes) == 1
    ]
    return ", ".join(said)


def _top(axes: tuple[MapAxis, ...], breaks: set[int]) -> list[str]:
    """The names of the axes across, and the index of the outer, or the first and the last of the only one, above."""
    outer = axes[:-1]
    names = " · ".join(axis_words(axis.letter)[1] for axis in axes)
    width = prod(axis.blocks for axis in axes)
    if not outer:
        return [f"{names} {axes[0].first} to {axes[0].first + axes[0].size - 1}"]
    marks, at = "", 0
    inner = axes[-1].blocks
    for block in range(0, width, inner):
        column = block + sum(1 for each in breaks if each <= block)
        number_of = str(outer[-1].first + _places(axes, block)[-2] * outer[-1].step)
        if column >= at:
            marks = marks.ljust(column) + number_of
            at = len(marks) + 1
    return [names, marks]
