"""A flip is excused up to the local bound of its scores, counted, and what follows from it shares its fate."""

from dataclasses import replace

import pytest
from judge_rows import BF16, BUDGETS, CASE, F64, drift, golden, port

from paritygate.core.budget import Budget, Budgets
from paritygate.core.decision import Agreeing, Decided, Flip
from paritygate.core.drift import Diagnosis
from paritygate.core.site import Kind
from paritygate.judge.decide import judge
from paritygate.judge.decisions import SCORE_X
from paritygate.judge.gate import exit_code, summary

FLOOR = 2.0**-6  # bf16, of the scores; the budget allows twice that
LOGITS = port("r:out.logits", 0, dtypes={"bf16": "bfloat16"}, floors={
    mode: {"bf16": {"rel_l2": FLOOR, "max_abs": FLOOR}} for mode in ("isolated", "chained")
})  # fmt: skip
CHOICE = port("r:out.choice", 1, Kind.INDEX)


def flip(margin: float, own: float = 0.0, depth: int = 0) -> Flip:
    return Flip((0, 3), (1,), (2,), margin, 1.0, own, depth)


def flipped(*flips: Flip, address: str = "r:out.choice", cell: str = BF16, order: int = 1, mode: str = "chained"):
    cascaded = sum(flip.depth > 0 for flip in flips)
    decided = Decided("out.logits", 8, len(flips) - cascaded, cascaded, flips)
    return drift(
        address,
        cell,
        mode,
        order,
        kind="index",
        metrics={"agreement": 1 - len(flips) / 8},
        decided=decided,
        dtype="int32",
    )


def scores(cell: str = BF16, address: str = "r:out.logits", order: int = 0):
    dtype = {"f64": "float64", "bf16": "bfloat16"}[cell.split("/")[0]]
    return drift(address, cell, "chained", order, dtype=dtype, metrics={"rel_l2": 0.0, "max_abs": 0.0})


def rows(*drifts, ports=(LOGITS, CHOICE), cells=(BF16,), budgets: Budgets = BUDGETS):
    return {row.drift.address: row for row in judge(drifts, {CASE: golden(*ports)}, cells, ("chained",), budgets, {})}


def choice(*flips: Flip, cell: str = BF16):
    return rows(scores(cell), flipped(*flips, cell=cell), cells=(cell,))["r:out.choice"]


def test_a_flip_within_the_local_bound_is_excused_and_counted():
    row = choice(flip(SCORE_X * 2 * FLOOR), flip(FLOOR))
    assert row.verdict == "pass"
    assert (row.excuse.bound_x, row.excuse.excused, row.excuse.refused) == (SCORE_X * 2 * FLOOR, 2, 0)
    assert summary([row]).flips_excused == 2


def test_a_wider_flip_is_refused_whatever_the_others_are():
    row = choice(flip(SCORE_X * 2 * FLOOR * 1.01), flip(FLOOR))
    assert row.verdict == "over_budget"
    assert (row.excuse.excused, row.excuse.refused) == (1, 1)
    assert row.reason.startswith(
        "1 of 8 tokens choose otherwise without an excuse: token 3 of row 0 chose 2 for 1, "
        "a margin of 0.063 of the two scores, allowed 0.062"
    )
    assert exit_code([row], ()) == 1


def test_a_choice_against_its_own_scores_has_no_excuse():
    row = choice(flip(0.0, own=-1e-3))
    assert row.verdict == "over_budget"
    assert "against its own scores" in row.reason


def test_an_exact_tie_may_be_broken_either_way():
    assert choice(flip(0.0, own=0.0)).verdict == "pass"


def test_in_float64_the_bound_is_the_fixed_limit():
    assert choice(flip(2.0**-41), cell=F64).verdict == "pass"
    row = choice(flip(2.0**-38), cell=F64)
    assert (row.verdict, row.diagnosis) == ("over_budget", Diagnosis.SEMANTIC)


@pytest.mark.parametrize("also_in_float64", [False, True])
def test_a_refused_flip_is_a_decision_unless_float64_has_it_too(also_in_float64):
    found = judge(
        [scores(), scores(F64), flipped(flip(1.0)), flipped(*[flip(1.0)] * also_in_float64, cell=F64)],
        {CASE: golden(LOGITS, CHOICE)}, (BF16, F64), ("chained",), BUDGETS, {},
    )  # fmt: skip
    (row,) = [row for row in found if row.drift.cell == BF16 and row.verdict != "pass"]
    assert row.diagnosis is (Diagnosis.SEMANTIC if also_in_float64 else Diagnosis.DECISION)


@pytest.mark.parametrize(("margin", "verdict"), [(FLOOR, "pass"), (1.0, "over_budget")])
def test_a_flip_that_follows_is_excused_as_its_first_is(margin, verdict):
    later = port("s:out.choice", 2, Kind.INDEX)
    found = rows(
        scores(),
        flipped(flip(margin)),
        flipped(flip(4.0, own=0.0, depth=1), address="s:out.choice", order=2),
        ports=(LOGITS, CHOICE, later),
    )
    row = found["s:out.choice"]
    assert row.verdict == verdict
    assert (row.excuse.cascaded, row.excuse.refused) == ((1, 0) if verdict == "pass" else (0, 1))
    assert row.diagnosis == ("" if verdict == "pass" else Diagnosis.PROPAGATED)


def test_the_top_token_is_a_choice_in_every_dtype():
    logits = replace(LOGITS, role="logits")
    budgets = replace(BUDGETS, rules=(*BUDGETS.rules, Budget("top", "top1", "r", limit=0.0)))
    decided = Decided("out.logits", 8, 1, 0, (flip(1.0),))
    metrics = {"rel_l2": 0.0, "max_abs": 0.0, "top1": 0.875}
    at = drift("r:out.logits", BF16, "chained", dtype="bfloat16", metrics=metrics, decided=decided)
    row = rows(at, ports=(logits,), budgets=budgets)["r:out.logits"]
    assert row.verdict == "over_budget"
    old = rows(replace(at, decided=None), ports=(logits,), budgets=budgets)["r:out.logits"]
    assert (old.verdict, old.reason) == (
        "error",
        "its run kept no choices, and rule 'top' judges them: replay it again",
    )
    near = replace(decided, flips=(flip(FLOOR),))
    assert rows(replace(at, decided=near), ports=(logits,), budgets=budgets)["r:out.logits"].verdict == "pass"


def test_behind_a_flip_the_floor_is_that_of_the_same_tokens():
    at = replace(scores(), metrics={"rel_l2": 3 * FLOOR, "max_abs": 0.0})
    assert rows(at, ports=(LOGITS,))["r:out.logits"].verdict == "over_budget"
    agreeing = Agreeing(3, 8, {"rel_l2": 2 * FLOOR, "max_abs": FLOOR})
    row = rows(replace(at, agreeing=agreeing), ports=(LOGITS,))["r:out.logits"]
    assert row.verdict == "pass"
    assert {j.metric: j.floor for j in row.judgements} == {"max_abs": FLOOR, "rel_l2": 2 * FLOOR}


def test_what_was_forced_is_skipped_and_never_a_pass():
    forced = drift("r:out.choice", BF16, "chained", 1, kind="index", problem="forced", detail="it was forced")
    row = rows(scores(), forced)["r:out.choice"]
    assert (row.verdict, row.reason) == ("skipped", "it was forced")
    assert exit_code([row], ()) == 5
