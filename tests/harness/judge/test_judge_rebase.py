"""A judged run by another baseline: the same rows as if it had been judged with it."""

import random
from dataclasses import replace

import pytest
from judge_rows import BF16, BUDGETS, CASE, F64, FLOOR, FLOORS, accepted, drift, golden, port

from paritygate.core.budget import Accepted
from paritygate.core.decision import Decided, Flip
from paritygate.core.drift import Drift, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.run import RunInfo
from paritygate.core.site import Kind
from paritygate.judge.decide import judge
from paritygate.judge.rebase import rebase

INFO = RunInfo("run-2", "toy", (), (), (), "", (), {}, {}, baseline_x=BUDGETS.baseline.factor)
ADDRESSES = ("embed:out", "a:inner.q", "a:out", "a.b:out", "head:out")
CHOICES = ("r:inner.choice", "s:inner.choice")
SCORES = ("r:inner.logits", "s:inner.logits")
PORTS = (
    *(port(address, order, floors=FLOORS) for order, address in enumerate((*ADDRESSES, *SCORES))),
    *(port(address, order, Kind.INDEX) for order, address in enumerate(CHOICES, 10)),
)
CELLS, MODES = (F64, BF16, "bf16/tp2/cpu", "f64/tp2/cpu"), ("isolated", "chained")


def by(baseline: list[Accepted], drifts: list[Drift]) -> list[Row]:
    return judge(drifts, {CASE: golden(*PORTS)}, CELLS, MODES, BUDGETS, {line.key: line for line in baseline})


def without_evidence(rows: list[Row]) -> list[Row]:
    return [replace(row, evidence="", edges=()) for row in rows]


def drifts_of(draw: random.Random) -> list[Drift]:
    """Values on all sides of their limits, and some that are no numbers."""
    found = []
    for cell in CELLS:
        for mode in MODES:
            dtype = "float64" if cell.startswith("f64") else "bfloat16"
            base = 2.0**-40 if dtype == "float64" else FLOOR
            for order, address in enumerate((*ADDRESSES, *SCORES)):
                value = base * draw.choice((0.0, 0.5, 1.0, 2.0, 3.0, 5.0))
                kind = draw.choice(("number",) * 12 + ("nonfinite", "absent", "shape"))
                fields = {"metrics": {"rel_l2": value, "max_abs": value}, "dtype": dtype}
                if kind == "nonfinite":
                    fields |= {"nonfinite": 3}
                if kind == "shape":
                    fields = {"dtype": dtype, "problem": "mismatch", "detail": "shape"}
                if kind != "absent":
                    found.append(drift(address, cell, mode, order, **fields))
            for order, address in enumerate(CHOICES, 10):
                flip = Flip((0, 1), (1,), (2,), draw.choice((1e-3, 2.0)), 1.0, 0.1, draw.choice((0, 1)))
                own = int(flip.depth == 0)
                decided = draw.choice((Decided("inner.logits", 6), Decided("inner.logits", 6, own, 1 - own, (flip,))))
                fields = {"kind": "index", "decided": decided, "metrics": {"agreement": 1.0 - len(decided.flips) / 6}}
                found.append(drift(address, cell, mode, order, dtype=dtype, **fields))
    return found


def lines_of(draw: random.Random, drifts: list[Drift]) -> list[Accepted]:
    """Some of the rows, accepted at some part of what they are, or at more."""
    lines = []
    for each in draw.sample(drifts, draw.randrange(len(drifts))):
        part = draw.choice((0.3, 0.79, 0.81, 1.0, 4.0))
        metrics = {name: value * part for name, value in each.metrics.items()}
        lines.append(replace(accepted(each, draw.choice(("known", "since 7")), **metrics), run=draw.choice("ab")))
    return lines


@pytest.mark.parametrize("seed", range(33, 41))
def test_it_is_what_the_judge_would_have_written(seed: int) -> None:
    draw = random.Random(seed)
    drifts = drifts_of(draw)
    first, second = lines_of(draw, drifts), lines_of(draw, drifts)
    baselines = {"none": [], "first": first, "second": second}
    judged = {name: by(lines, drifts) for name, lines in baselines.items()}
    for was, then in (("first", "second"), ("none", "first"), ("first", "none"), ("first", "first")):
        found = rebase(judged[was], {line.key: line for line in baselines[then]}, INFO)
        assert without_evidence(found) == without_evidence(judged[then]), (was, then)


def test_the_draws_reach_every_verdict_that_a_baseline_has_a_say_in() -> None:
    found = set()
    for seed in range(33, 37):
        draw = random.Random(seed)
        drifts = drifts_of(draw)
        found |= {(row.verdict, bool(row.accepted)) for row in by(lines_of(draw, drifts), drifts)}
    verdicts = {Verdict.OVER_BUDGET, Verdict.REGRESSED, Verdict.NONFINITE, Verdict.MISMATCH, Verdict.MISSING}
    assert {(Verdict.PASS, False), (Verdict.PASS, True), *((each, False) for each in verdicts)} <= found


def test_rows_that_no_baseline_has_a_say_in_stay_the_objects_they_are() -> None:
    rows = by([], drifts_of(random.Random(1)))
    assert all(new is old for new, old in zip(rebase(rows, {}, INFO), rows, strict=True))


def test_a_run_that_does_not_say_its_factor_is_refused_where_it_is_needed() -> None:
    drifts = drifts_of(random.Random(1))
    rows, old = by([], drifts), replace(INFO, baseline_x=0.0)
    assert rebase(rows, {}, old) == rows
    lines = {line.key: line for line in (accepted(each, "known", **each.metrics) for each in drifts)}
    with pytest.raises(UsageError, match=r"^run does not say how much more") as caught:
        rebase(rows, lines, old)
    assert caught.value.try_ == "paritygate judge run-2, and upload it again"


def test_a_metric_that_is_not_known_here_is_refused() -> None:
    drifts = drifts_of(random.Random(1))
    rows = [
        replace(row, judgements=tuple(replace(each, metric="ours") for each in row.judgements))
        for row in by([], drifts)
    ]
    line = next(row for row in rows if row.judgements)
    with pytest.raises(UsageError, match=r"^metric is not known here: ours\n"):
        rebase(rows, {line.drift.key: accepted(line.drift, ours=1.0)}, INFO)
