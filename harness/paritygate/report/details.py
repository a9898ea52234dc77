"""What the page knows of a row beside its line in the table: kinds of detail, and which go where a page is too big.

A kind is one entry of `DETAILS`: `static/data.js` gives the row that `static/panel.js` draws a field of that name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from paritygate.core.drift import Row
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
    elements = [(list(e.index), long(e.golden), long(e.got), short(e.got - e.golden)) for e in row.drift.worst]
    return [value for element in elements for value in element]


def _value(row: Row, index: Index) -> str:
    drift = row.drift
    return f"{drift.kind} {drift.dtype} ({drift.layout}) {list(drift.shape)}"


def _problem(row: Row, index: Index) -> str:
    return row.drift.problem + (f": {row.drift.detail}" if row.drift.detail else "")


DETAILS = (
    Detail("words", "drift in words", lambda row, index: row_words(row)),
    Detail("origin", "origins", lambda row, index: row.origin),
    Detail("reason", "reasons", lambda row, index: row.accepted or row.reason),
    Detail("value", "shapes and dtypes", _value),
    Detail("problem", "problems", _problem),
    Detail("judgements", "judgements", _judgements),
    Detail("worst", "worst elements", _worst),
)

UNJUDGED = "metrics that are not judged"

# First to last. What a reader needs of a row that is to blame goes last; a row's line in the table never goes.
DROPS = (
    Drop("worst", "pass"),
    Drop("metrics", "all"),
    Drop("judgements", "pass"),
    Drop("worst", "propagated"),
    Drop("judgements", "propagated"),
    Drop("words", "pass"),
    Drop("worst", "fail"),
    Drop("judgements", "fail"),
)

STATES: dict[State, str] = {"pass": "passing rows", "propagated": "propagated rows", "fail": "rows to blame"}


def drop_words(drop: Drop) -> str:
    """`worst elements of passing rows`"""
    if drop.state == "all":
        return UNJUDGED
    return f"{next(d.words for d in DETAILS if d.name == drop.detail)} of {STATES[drop.state]}"
