"""Run against run, or against what was accepted: which rows changed. Writes nothing, imports no NumPy."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from paritygate.core.budget import Accepted
from paritygate.core.comparison import ACCEPTED, Comparison, RowChange, Status
from paritygate.core.drift import Drift, Judgement, Row, Verdict
from paritygate.core.run import RunInfo

# A judged metric counts as moved where the share of its budget that is used changes by more than this part of the
# budget or, over budget, of the larger share. On one machine equal programs give equal bits; between machines another
# order of sums moves ρ by some percent, and a drift of 1e-16 under a limit of 1e-12 moves freely.
STEP = 0.05


def compare(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> list[RowChange]:
    """Every row of either run, worst change first, then in production order. A skipped row counts as not compared."""
    before, after = _compared(rows_a), _compared(rows_b)
    return _sorted(_change(before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after]))


def with_run(earlier: RunInfo, rows_a: Iterable[Row], rows_b: Iterable[Row]) -> Comparison:
    """A run beside an earlier one."""
    return Comparison(f"run {earlier.id}", tuple(compare(rows_a, rows_b)))


def with_accepted(accepted: Iterable[Accepted], info: RunInfo, rows: Iterable[Row]) -> Comparison:
    """A run beside the accepted lines of its cases, cells and modes. What was never accepted is no part of it."""
    lines = [
        line for line in accepted if line.case in info.cases and line.cell in info.cells and line.mode in info.modes
    ]
    after = _compared(rows)
    return Comparison(ACCEPTED, tuple(_sorted(_change(_as_row(line), after.get(line.key)) for line in lines)))


def _as_row(line: Accepted) -> Row:
    """An accepted drift as the row that it was accepted from, judged in parts of the budget of that day."""
    drift = Drift(*line.key, order=0, kind="", layout="", shape=(), dtype="", metrics=line.metrics, digest=line.digest)
    judgements = tuple(
        Judgement(name, line.metrics.get(name, share), 0.0, 0.0, share, 1.0, "accepted", share <= 1.0)
        for name, share in line.shares.items()
    )
    within = all(judgement.ok for judgement in judgements) and line.verdict == Verdict.PASS
    return Row(drift, Verdict.PASS, judgements=judgements, accepted="" if within else line.reason, baseline=line.run)


def _change(old: Row | None, new: Row | None) -> RowChange:
    values = [row.drift.metrics if row else {} for row in (old, new)]
    names = dict.fromkeys(name for side in values for name in side)
    status = status_of(standing_of(old) if old else None, standing_of(new) if new else None)
    return RowChange(status, old, new, {n: (values[0].get(n), values[1].get(n)) for n in names})


def _sorted(changes: Iterable[RowChange]) -> list[RowChange]:
    worst_first = list(Status)

    def place(change: RowChange) -> tuple[object, ...]:
        drift = change.row.drift
        return (worst_first.index(change.status), drift.case, drift.cell, drift.mode, drift.order, drift.key)

    return sorted(changes, key=place)


def _compared(rows: Iterable[Row]) -> Mapping[tuple[str, str, str, str, str, int], Row]:
    return {row.drift.key: row for row in rows if row.verdict is not Verdict.SKIPPED}


class Standing(NamedTuple):
    """What decides a comparison of a row: `shares` are those of its judgements, by metric."""

    verdict: str
    accepted: bool
    digest: str
    shares: Mapping[str, float]

    @property
    def passes(self) -> int:
        """2 where it passes by itself, 1 where only a baseline lets it pass, 0 where it does not pass."""
        return 0 if self.verdict != Verdict.PASS else 1 if self.accepted else 2


def standing_of(row: Row) -> Standing:
    shares = {judgement.metric: judgement.share for judgement in row.judgements}
    return Standing(row.verdict, bool(row.accepted), row.drift.digest, shares)


def status_of(old: Standing | None, new: Standing | None) -> Status:
    """What became of a row; None was not compared."""
    if old is None or new is None:
        return Status.NEW if old is None else Status.GONE
    before, after = old.passes, new.passes
    if before != after:
        return Status.FIXED if after > before else Status.WORSE if after else Status.BROKEN
    if old.digest and old.digest == new.digest:
        return Status.IDENTICAL  # whatever has become of its budget
    if bool(old.shares) != bool(new.shares):  # what can be judged is nearer to right than what cannot
        return Status.BETTER if new.shares else Status.WORSE
    moves = [_move(old.shares[metric], share) for metric, share in new.shares.items() if metric in old.shares]
    if 1 in moves:
        return Status.WORSE
    return Status.BETTER if -1 in moves else Status.EQUAL


def _move(old: float, new: float) -> int:
    """1 where more of the budget is used than before, -1 where less is, 0 where it is the same within STEP."""
    return 0 if abs(new - old) <= STEP * max(1.0, old, new) else (1 if new > old else -1)
