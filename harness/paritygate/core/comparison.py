"""A run beside an earlier one, or beside the drifts that were accepted: what became of each row."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from paritygate.core.drift import Row

ACCEPTED = "the accepted baseline"  # what a run is compared with where no other run is named


class Status(StrEnum):
    """What became of a row, the worst first."""

    BROKEN = "broken"  # passed, does not
    WORSE = "worse"
    GONE = "gone"  # compared before, not now
    NEW = "new"
    FIXED = "fixed"  # did not pass, or only by a baseline, and does by itself
    BETTER = "better"
    EQUAL = "equal"  # within a small part of its budget
    IDENTICAL = "bit-identical"


SAME = (Status.EQUAL, Status.IDENTICAL)


@dataclass(frozen=True)
class RowChange:
    """One row, before and after. `before` or `after` is None where it was not compared there.

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
    def verdicts(self) -> str:
        """`pass → over_budget`"""
        return " → ".join(str(row.verdict) if row else "absent" for row in (self.before, self.after))

    @property
    def numbers(self) -> str:
        """`rel_l2 2.1e-03 → 2.9e-03`, of the metrics that were judged on either side."""
        judged = {j.metric for row in (self.before, self.after) if row for j in row.judgements}
        pairs = ((name, pair) for name, pair in self.metrics.items() if name in judged)
        return ", ".join(f"{name} {_number(old)} → {_number(new)}" for name, (old, new) in pairs)

    @property
    def text(self) -> str:
        """`worse  tiny-scout.long bf16/single/cpu chained layers.3:out  pass → pass  rel_l2 2.1e-03 → 2.9e-03`"""
        drift = self.row.drift
        line = f"{self.status}  {drift.case} {drift.cell} {drift.mode} {drift.address}  {self.verdicts}"
        return f"{line}  {self.numbers}" if self.numbers else line


@dataclass(frozen=True)
class Comparison:
    """What a run was compared with, in words, and each row of either side, worst change first."""

    against: str
    changes: tuple[RowChange, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows by status, worst first; only what occurs."""
        found = Counter(change.status for change in self.changes)
        return {str(status): found[status] for status in Status if found[status]}

    @cached_property
    def changed(self) -> tuple[RowChange, ...]:
        """Those that are not the same within a step."""
        return tuple(change for change in self.changes if change.status not in SAME)

    @property
    def words(self) -> str:
        """`3 worse, 1 fixed, 3,996 bit-identical`"""
        return ", ".join(f"{count:,} {status}" for status, count in self.counts.items()) or "no rows"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"
