"""Squares of the heat maps: how a value near to, at or over its limit looks, in the overview and on a site's page."""

from paritygate.core.drift import Row, Verdict
from paritygate.report.data import failing, root, row_nearness, worst
from paritygate.report.parts import Square, State
from paritygate.report.words import ACCEPTED, MARKS, count, row_words, times, verdict_words

STEPS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


def square(rows: list[Row]) -> Square:
    """The square of the rows that share one place: its worst row, marked with a letter where that is not a pass."""
    if not rows:
        return Square("", 0, "empty")
    row = worst(rows, 1)[0]
    near = row_nearness(row)
    level = sum(near > step for step in STEPS)
    text = "" if near == float("inf") else share_words(near)
    failures = sum(map(failing, rows))
    if not failures:
        if all(r.verdict is Verdict.SKIPPED for r in rows):
            return Square("", level, "pass", MARKS[Verdict.SKIPPED], _title(row))
        return Square(text, level, "pass", ACCEPTED if any(r.accepted for r in rows) else "", _title(row))
    state = "fail" if any(map(root, rows)) else "propagated"
    title = f"{count(failures)} of {count(len(rows))} are not a pass; {_title(row)}"
    return Square(text, level, state, MARKS[row.verdict], title)


def state_of(row: Row) -> State:
    """A single row's state in the heat map."""
    if not failing(row):
        return "pass"
    return "fail" if root(row) else "propagated"


def mark_of(row: Row) -> str:
    """The letter of a single row that is no plain pass."""
    if failing(row) or row.verdict is Verdict.SKIPPED:
        return MARKS[row.verdict]
    return ACCEPTED if row.accepted else ""


def share_words(near: float) -> str:
    """A share of the limit in a few characters: .42 · 1.7 · 250×."""
    if near < 0.005:
        return "0"
    if near < 10:
        return f"{near:.2f}"[1:] if near < 0.995 else f"{near:.1f}"
    return times(near)


def _title(row: Row) -> str:
    return f"{row.drift.address}, {row.drift.case}: {verdict_words(row.verdict)}, {row_words(row)}"
