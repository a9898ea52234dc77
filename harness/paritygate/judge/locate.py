"""The first divergent value of each case and cell. Reads judged rows, writes nothing, imports no NumPy."""

from collections.abc import Iterable
from dataclasses import dataclass

from paritygate.core.cell import Mode
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.judge.diagnose import diverged


@dataclass(frozen=True)
class Divergence:
    """Where one case first differs in one cell.

    `row` is the one to look at; `isolated` and `chained` are the first of each mode, None where that mode has none.
    `hint` says in one sentence what the two modes together tell. `propagated` counts the failing rows of the case and
    cell that are merely put down to the value at `start`, which is this row's or its origin's.
    """

    case: str
    cell: str
    row: Row
    isolated: Row | None
    chained: Row | None
    hint: str
    propagated: int

    @property
    def start(self) -> str:
        return self.row.origin or self.row.drift.address

    @property
    def finding(self) -> list[str]:
        """What `locate` says below the line of a divergence: evidence, hint, what merely follows from it."""
        rows = f"{self.propagated} row{'s' if self.propagated != 1 else ''}"
        follow = f"merely propagated from {self.start}: {rows} of this case and cell"
        return [line for line in (self.row.evidence, self.hint, follow if self.propagated else "") if line]

    @property
    def text(self) -> str:
        """`tiny-scout.long f64/single/cpu  layers.0.attn:out  isolated  semantic  rel_l2 3e-2 (limit 1e-12)`"""
        row = self.row
        why = str(row.diagnosis) or str(row.verdict)
        if row.diagnosis is Diagnosis.PROPAGATED:
            why += f" from {row.origin}"
        line = f"{self.case} {self.cell}  {row.drift.address}  {row.drift.mode}  {why}"
        return f"{line}  {row.reason}" if row.reason else line


def first_divergence(rows: Iterable[Row]) -> list[Divergence]:
    """One finding per case and cell that has a row which is not a pass, in the order of the rows.

    The row earliest in production order, first among those to blame for themselves, a module that the model does not
    run among them, else among propagated ones (the origin then lies in another cell), else among those that were never
    compared. Of one value in both modes the isolated row counts.
    Gradients come last, in the order in which the backward pass is done with them.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.verdict not in (Verdict.PASS, Verdict.SKIPPED):
            groups.setdefault((row.drift.case, row.drift.cell), []).append(row)
    found = []
    for (case, cell), failing in groups.items():
        isolated = min((r for r in failing if r.drift.mode == Mode.ISOLATED), key=_rank, default=None)
        chained = min((r for r in failing if r.drift.mode == Mode.CHAINED), key=_rank, default=None)
        first = min(failing, key=_rank)
        follow = sum(row.origin == (first.origin or first.drift.address) for row in failing)
        found.append(Divergence(case, cell, first, isolated, chained, _hint(first, isolated, chained), follow))
    return found


def _rank(row: Row) -> tuple[int, int, bool]:
    if not diverged(row) and not row.diagnosis:
        group = 2
    else:
        group = 1 if row.diagnosis is Diagnosis.PROPAGATED else 0
    return (group, row.drift.order, row.drift.mode != Mode.ISOLATED)


def _hint(first: Row, isolated: Row | None, chained: Row | None) -> str:
    if first.verdict is Verdict.MISSING and first.diagnosis:
        return f"the model does not run {first.drift.site}, which is there"
    if not diverged(first):
        return "nothing that was compared differs, but this value was not compared"
    if first.diagnosis is Diagnosis.PROPAGATED:
        return f"the fault is at {first.origin}, too small to show there in this dtype"
    if first.drift.mode == Mode.GRADIENT:
        return "only gradients: the forward pass is right; going backwards, this weight's is the first that is not"
    site = first.drift.site
    if chained is None or not diverged(chained):
        return f"only isolated: {site} differs on golden inputs, but no chained value is over budget"
    if first is isolated:
        if chained.drift.address == first.drift.address:
            return f"isolated and chained: the difference arises inside {site}"
        return f"isolated: the difference arises inside {site}; chained it first shows at {chained.drift.address}"
    if isolated is None or not diverged(isolated):
        return f"only chained: {site} is right on golden inputs or has no isolated replay, so look at what feeds it"
    return f"chained first: look at what feeds {site}; isolated, {isolated.drift.address} differs on its own"
