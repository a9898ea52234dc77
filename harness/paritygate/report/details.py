"""What the page knows of a row beside its line in the table: kinds of detail, and which go where a page is too big.

A kind is one entry of `DETAILS`: `static/data.js` gives the row that `static/panel.js` draws a field of that name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from paritygate.core.drift import Row
from paritygate.core.error_map import EQUAL, NONFINITE, NOTHING
from paritygate.core.where import axis_words
from paritygate.report.evidence import fate, flip_words, is_drawn, ulps
from paritygate.report.map_text import map_words, scale_from
from paritygate.report.parts import State
from paritygate.report.rounding import long, short
from paritygate.report.words import bound, metric_words, row_words

Index = Callable[[str], int]  # of a text in the page's table of names: `row.strings[i]` gives it back


@dataclass(frozen=True)
class Detail:
    """`of` gives what is packed of a row: a text, or a list in JSON; nothing where the row has none."""

    name: str
    words: str
    of: Callable[[Row, Index], Any]


@dataclass(frozen=True)
class Drop:
    """Detail that a page over its cap goes without: of the rows in one state, or of all (`metrics`)."""

    detail: str
    state: State | Literal["all"]


def _judgements(row: Row, index: Index) -> list[Any]:
    return [
        value
        for j in row.judgements
        for value in (
            index(metric_words(row, j)),
            short(j.value),
            short(j.floor),
            short(j.ratio) if max(j.floor, j.minimum) > 0 else None,
            short(bound(j)),
            index(j.rule),
            int(j.ok),
        )
    ]


def _worst(row: Row, index: Index) -> list[Any]:
    """The difference is packed too: in float64 it lies beyond the digits that are kept of both values."""
    found: list[Any] = []
    for e in row.drift.worst:
        steps = ulps(e, row.drift.dtype)
        found += [list(e.index), long(e.golden), long(e.got), short(e.got - e.golden)]
        found.append(None if steps is None else short(steps))
    return found


def _value(row: Row, index: Index) -> str:
    drift = row.drift
    return f"{drift.kind} {drift.dtype} ({drift.layout}) {list(drift.shape)}"


def _problem(row: Row, index: Index) -> str:
    return row.drift.problem + (f": {row.drift.detail}" if row.drift.detail else "")


def _map(row: Row, index: Index) -> Any:
    """Axes down and across, edges by the place of their axis, where the scale begins, the levels, and all in words.

    A level is a character, from the lowest of the map on: one a block, so that noise packs well.
    """
    drawn, drift = row.drift.error_map, row.drift
    if drawn is None or not is_drawn(row):
        return 0
    axes = (*drawn.down, *drawn.across)
    letters = [axis.letter for axis in axes]
    least = min((level for level in drawn.levels if EQUAL < level < NONFINITE), default=EQUAL)
    shown = {level: ord("(") + level - least for level in range(least, NONFINITE)}
    shown |= {NOTHING: ord(" "), EQUAL: ord("#"), NONFINITE: ord("!")}
    return [
        [[*map(index, axis_words(axis.letter)), axis.size, axis.step, axis.first] for axis in drawn.down],
        [[*map(index, axis_words(axis.letter)), axis.size, axis.step, axis.first] for axis in drawn.across],
        [[letters.index(edge.axis), index(edge.name), edge.every] for edge in row.edges if edge.axis in letters],
        scale_from(drift),
        least,
        drawn.levels.decode("latin-1").translate(shown),
        map_words(drawn, drift.kind),
    ]


def _spread(row: Row, index: Index) -> Any:
    """The histograms: dtype, by roundoffs, by ratios, and in words what these say of a factor."""
    roundoffs, ratios = row.drift.histogram, row.drift.ratios
    if roundoffs is None:
        return 0
    by_ratio = [ratios.first, list(ratios.same), list(ratios.opposite), ratios.zero, ratios.typical] if ratios else 0
    words = ratios.words if ratios else ""
    by_roundoff = [roundoffs.zero, roundoffs.first, *roundoffs.counts]
    return [index(row.drift.dtype), by_roundoff, by_ratio, index(words) if words else -1]


def _flips(row: Row, index: Index) -> Any:
    """The bound, what is said of all, and a list a flip: row, token, both choices, margin, own, depth, fate."""
    decided, excuse = row.drift.decided, row.excuse
    if decided is None or excuse is None:
        return 0
    return [
        short(excuse.bound_x),
        index(flip_words(row)),
        index(decided.scores),
        [
            [*f.token, list(f.golden), list(f.got), short(f.ratio), short(f.own), f.depth, index(fate(f, excuse))]
            for f in decided.flips
        ],
    ]


DETAILS = (
    Detail("words", "drift in words", lambda row, index: row_words(row)),
    Detail("origin", "origins", lambda row, index: row.origin),
    Detail("reason", "reasons", lambda row, index: row.accepted or row.reason),
    Detail("value", "shapes and dtypes", _value),
    Detail("problem", "problems", _problem),
    Detail("judgements", "judgements", _judgements),
    Detail("worst", "worst elements", _worst),
    Detail("evidence", "evidence", lambda row, index: row.evidence),
    Detail("map", "error maps", _map),
    Detail("spread", "histograms", _spread),
    Detail("flips", "flips", _flips),
)

UNJUDGED = "metrics that are not judged"

# First to last. What a reader needs of a row that is to blame goes last; a row's line in the table never goes.
DROPS = (
    Drop("spread", "pass"),
    Drop("worst", "pass"),
    Drop("metrics", "all"),
    Drop("map", "propagated"),
    Drop("judgements", "pass"),
    Drop("spread", "propagated"),
    Drop("worst", "propagated"),
    Drop("judgements", "propagated"),
    Drop("words", "pass"),
    Drop("map", "fail"),
    Drop("spread", "fail"),
    Drop("worst", "fail"),
    Drop("judgements", "fail"),
)

STATES: dict[State, str] = {"pass": "passing rows", "propagated": "propagated rows", "fail": "rows to blame"}


def drop_words(drop: Drop) -> str:
    """`worst elements of passing rows`"""
    if drop.state == "all":
        return UNJUDGED
    return f"{next(d.words for d in DETAILS if d.name == drop.detail)} of {STATES[drop.state]}"
