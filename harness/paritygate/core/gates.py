"""The two gates that rows go through, each by itself: the absolute budget, and the ratchet of what was accepted."""

from collections.abc import Iterable
from dataclasses import dataclass

from paritygate.core.drift import Row, Verdict

NO_NUMBER = (Verdict.NONFINITE, Verdict.MISMATCH, Verdict.MISSING, Verdict.ERROR)


@dataclass(frozen=True)
class BudgetGate:
    """Every value within its budget? `accepted` are over it, and only a baseline lets them pass.

    `open` counts what was never compared, `skipped` what was left out beforehand, with a reason.
    """

    rows: int
    within: int
    over: int
    accepted: int
    open: int
    skipped: int

    @property
    def ok(self) -> bool:
        return bool(self.within + self.accepted) and not self.over and not self.open

    @property
    def words(self) -> str:
        """`fail: 3,990 of 4,000 within, 8 over, 2 over and accepted`"""
        more = (
            (self.over, "over"),
            (self.accepted, "over and accepted"),
            (self.open, "not compared"),
            (self.skipped, "skipped"),
        )
        said = [f"{self.within:,} of {self.rows:,} within", *(f"{count:,} {what}" for count, what in more if count)]
        return f"{'pass' if self.ok else 'fail'}: {', '.join(said)}"


@dataclass(frozen=True)
class RatchetGate:
    """Nothing worse than what was accepted? `accepted` counts the run's rows that a baseline has a line of.

    `lost` of these have no number any more: missing, not finite, of another shape, an error.
    """

    accepted: int
    regressed: int
    lost: int = 0

    @property
    def ok(self) -> bool:
        return not self.regressed and not self.lost

    @property
    def words(self) -> str:
        """`fail: 2 of 10 accepted rows regressed, 1 has no number any more`"""
        if not self.accepted:
            return "pass: no row of this run was accepted before"
        noun = "row" if self.accepted == 1 else "rows"
        if self.ok:
            return f"pass: none of {self.accepted:,} accepted {noun} regressed"
        lost = f", {self.lost:,} {'has' if self.lost == 1 else 'have'} no number any more" if self.lost else ""
        return f"fail: {self.regressed:,} of {self.accepted:,} accepted {noun} regressed{lost}"


@dataclass(frozen=True)
class Gates:
    """Both. A run that passes both may still fail by a gap in its coverage, a finding, or a changed program."""

    budget: BudgetGate
    ratchet: RatchetGate

    @property
    def words(self) -> str:
        """`budget  pass: 3,990 of 4,000 within … · ratchet  fail: 2 of 10 accepted rows regressed`"""
        return f"budget  {self.budget.words} · ratchet  {self.ratchet.words}"


def gates(rows: Iterable[Row]) -> Gates:
    """What each gate makes of judged rows. A row that regressed within its budget fails the ratchet alone."""
    rows = list(rows)
    regressed = [row for row in rows if row.verdict is Verdict.REGRESSED]
    within = sum(row.verdict is Verdict.PASS and not row.accepted for row in rows)
    within += sum(bool(row.judgements) and all(judgement.ok for judgement in row.judgements) for row in regressed)
    accepted = sum(bool(row.accepted) for row in rows)
    skipped = sum(row.verdict is Verdict.SKIPPED and bool(row.reason.strip()) for row in rows)
    unknown = (Verdict.MISSING, Verdict.ERROR, Verdict.SKIPPED)
    left_open = sum(row.verdict in unknown for row in rows) - skipped
    budget = BudgetGate(
        len(rows), within, len(rows) - within - accepted - skipped - left_open, accepted, left_open, skipped
    )
    known = [row for row in rows if row.baseline or row.accepted or row.verdict is Verdict.REGRESSED]
    lost = sum(row.verdict in NO_NUMBER for row in known)
    return Gates(budget, RatchetGate(len(known), len(regressed), lost))
