"""Judged rows → the same rows by another baseline, without goldens or budgets. Reads and writes nothing.

A row says how it was judged, so that only what a baseline decides is decided again: what was accepted of a row, and
with it whether it passes, is over budget or regressed. All else stays as the judge wrote it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paritygate.core.budget import Accepted
from paritygate.core.cell import DtypePolicy
from paritygate.core.drift import APART, Judgement, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.histogram import TAIL
from paritygate.core.registry import discover
from paritygate.core.run import RunInfo
from paritygate.judge.decide import Bound, standing
from paritygate.judge.decisions import CHOICES, excused_within, refuse_what_follows
from paritygate.judge.diagnose import diagnose, diverged
from paritygate.metrics.base import metrics

Key = tuple[str, str, str, str, str, int]
_JUDGED = (Verdict.PASS, Verdict.OVER_BUDGET, Verdict.REGRESSED)


def rebase(rows: Sequence[Row], accepted: Mapping[Key, Accepted], info: RunInfo) -> list[Row]:
    """The rows as the judge would have written them, had `accepted` been the baseline; evidence is not looked for anew.

    Raises UsageError where something was accepted of a row, and the run is of a version that does not say how many
    times as much may be, or where its metric is not known here.
    """
    found = [_by_baseline(row, accepted.get(row.drift.key), info) for row in rows]
    if all(new is old for new, old in zip(found, rows, strict=True)):
        return found
    found = [
        replace(row, baseline=line.run if (line := accepted.get(row.drift.key)) else "")
        for row in refuse_what_follows(found)
    ]
    policies = discover("paritygate.catalog.dtypes", "POLICY", DtypePolicy)
    return diagnose(found, oracles={name for name, policy in policies.items() if not policy.peer})


def _by_baseline(row: Row, line: Accepted | None, info: RunInfo) -> Row:
    """The row itself where no baseline has, or had, a say in it."""
    if line is None and not row.baseline and not row.accepted and row.verdict is not Verdict.REGRESSED:
        return row
    if row.verdict not in _JUDGED:
        return replace(row, baseline="")  # without a number it can be neither accepted nor regress
    if line is not None and not info.baseline_x:
        raise UsageError(
            "run does not say how much more than what was accepted may be",
            where=info.id,
            expected="baseline_x in run.json, which the judge writes",
            try_=f"paritygate judge {info.id}, and upload it again",
        )
    decided, excuse, judgements = row.drift.decided, row.excuse, row.judgements
    if decided is not None and excuse is not None:  # as before it was refused for what it follows from
        excuse = excused_within(decided, excuse.bound_x)
        judgements = [_choice(each, excuse.refused / decided.tokens) for each in judgements]
    new = standing(row.drift, [_bound(each, line) for each in judgements], line, excuse, info.baseline_x)
    return replace(new, evidence=row.evidence, edges=row.edges) if diverged(new) else new


def _choice(judgement: Judgement, value: float) -> Judgement:
    if judgement.metric not in CHOICES:
        return judgement
    return replace(judgement, value=value, ratio=value, ok=value <= judgement.limit)


def _bound(judgement: Judgement, line: Accepted | None) -> Bound:
    """What the judge bounded, read off its judgement: rounding is what is below the minimum, or a fixed limit."""
    least = judgement.limit if judgement.is_fixed else judgement.minimum
    if line is None or judgement.metric not in line.metrics:
        return Bound(judgement, None, least)
    value = line.metrics[judgement.metric]
    if judgement.metric in (TAIL, APART):
        return Bound(judgement, value, least)
    if judgement.metric not in (known := metrics()):
        raise UsageError(
            "metric is not known here", where=judgement.metric, try_="PARITYGATE_PATH with the folder that has it"
        )
    return Bound(judgement, known[judgement.metric].drift(value), least)
