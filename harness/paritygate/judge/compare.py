"""Run against run: which rows changed. Reads judged rows, writes nothing, imports no NumPy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from paritygate.core.drift import Row, Verdict

# A judged metric counts as moved where the share of its budget that is used changes by more than this part of the
# budget or, over budget, of the larger share. On one machine equal programs give equal bits; between machines another
# order of sums moves ρ by some percent, and a drift of 1e-16 under a limit of 1e-12 moves freely.
STEP = 0.05


class Status(StrEnum):
    """What became of a row between two runs, the worst first."""

    BROKEN = "broken"  # passed, does not
    WORSE = "worse"
    GONE = "gone"  # compared before, not now
    NEW = "new"
    FIXED = "fixed"  # did not pass, does
    BETTER = "better"
    EQUAL = "equal"


@dataclass(frozen=True)
class Change:
    """One row in two runs. `before` or `after` is None where that run did not compare it.

    `metrics` gives both values of each metric, as measured, None where it was not.
    """

    status: Status
    before: Row | None
    after: Row | None
    metrics: Mapping[str, tuple[float | None, float | None]]

    @property
    def row(self) -> Row:
        """The later of the two."""
        row = self.after or self.before
        assert row is not None
        return row

    @property
    def text(self) -> str:
        """`worse  tiny-scout.long bf16/single/cpu chained layers.3:out  pass → pass  rel_l2 2.1e-03 → 2.9e-03`"""
        drift = self.row.drift
        verdicts = " → ".join(str(row.verdict) if row else "absent" for row in (self.before, self.after))
        judged = {j.metric for row in (self.before, self.after) if row for j in row.judgements}
        numbers = ", ".join(
            f"{name} {_number(old)} → {_number(new)}" for name, (old, new) in self.metrics.items() if name in judged
        )
        line = f"{self.status}  {drift.case} {drift.cell} {drift.mode} {drift.address}  {verdicts}"
        return f"{line}  {numbers}" if numbers else line


def compare(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> list[Change]:
    """Every row of either run, worst change first, then in production order. A skipped row counts as not compared."""
    before, after = _compared(rows_a), _compared(rows_b)
    changes = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        values = [row.drift.metrics if row else {} for row in (old, new)]
        names = dict.fromkeys(name for side in values for name in side)
        changes.append(Change(_status(old, new), old, new, {n: (values[0].get(n), values[1].get(n)) for n in names}))
    worst_first = list(Status)

    def place(change: Change) -> tuple[object, ...]:
        drift = change.row.drift
        return (worst_first.index(change.status), drift.case, drift.cell, drift.mode, drift.order, drift.key)

    return sorted(changes, key=place)


def _compared(rows: Iterable[Row]) -> dict[tuple[str, str, str, str, str, int], Row]:
    return {row.drift.key: row for row in rows if row.verdict is not Verdict.SKIPPED}


def _status(old: Row | None, new: Row | None) -> Status:
    if old is None or new is None:
        return Status.NEW if old is None else Status.GONE
    passes = (old.verdict is Verdict.PASS, new.verdict is Verdict.PASS)
    if passes[0] != passes[1]:
        return Status.FIXED if passes[1] else Status.BROKEN
    if bool(old.judgements) != bool(new.judgements):  # what can be judged is nearer to right than what cannot
        return Status.BETTER if new.judgements else Status.WORSE
    shares = {j.metric: j.share for j in old.judgements}
    moves = [_move(shares[j.metric], j.share) for j in new.judgements if j.metric in shares]
    if 1 in moves:
        return Status.WORSE
    return Status.BETTER if -1 in moves else Status.EQUAL


def _move(old: float, new: float) -> int:
    """1 where more of the budget is used than before, -1 where less is, 0 where it is the same within STEP."""
    return 0 if abs(new - old) <= STEP * max(1.0, old, new) else (1 if new > old else -1)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"
