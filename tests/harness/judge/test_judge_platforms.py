"""What a platform changes: cells whose devices are not here, floors and rules of its own."""

from dataclasses import replace

import pytest
from judge_rows import BF16, BUDGETS, CASE, FLOOR, FLOORS, golden, low, one, port

from paritygate.core.budget import Budget, Budgets
from paritygate.core.drift import Verdict
from paritygate.core.run import Skip
from paritygate.judge.decide import judge

GPU = "bf16/single/gpu"


def test_what_was_skipped_is_not_missing():
    skipped = (Skip(GPU, "no gpu: no driver"),)
    rows = judge([], {CASE: golden(port(floors=FLOORS))}, (BF16, GPU), ("isolated",), BUDGETS, {}, skipped=skipped)
    assert [(row.drift.cell, row.verdict, row.reason) for row in rows] == [
        (BF16, Verdict.MISSING, "the replay wrote no value"),
        (GPU, Verdict.SKIPPED, "no gpu: no driver"),
    ]


def test_a_skip_covers_the_cases_that_it_names_only():
    skipped = (Skip(GPU, "too large", "other.short"),)
    (row,) = judge([], {CASE: golden(port(floors=FLOORS))}, (GPU,), ("isolated",), BUDGETS, {}, skipped=skipped)
    assert row.verdict is Verdict.MISSING


def test_a_value_that_was_measured_although_skipped_is_judged():
    value = replace(low(2 * FLOOR), cell=GPU)
    skipped = (Skip(GPU, "no gpu"),)
    (row,) = judge([value], {CASE: golden(port(floors=FLOORS))}, (GPU,), ("isolated",), BUDGETS, {}, skipped=skipped)
    assert row.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("cell", "floors_on", "ratio"),
    [
        (GPU, {"gpu": {"isolated": {"bf16": {"rel_l2": 2 * FLOOR, "max_abs": 1.0}}}}, 1.0),
        (BF16, {"gpu": {"isolated": {"bf16": {"rel_l2": 2 * FLOOR, "max_abs": 1.0}}}}, 2.0),
        (GPU, {"gpu": {"chained": {"bf16": {"rel_l2": 2 * FLOOR, "max_abs": 1.0}}}}, 2.0),
        (GPU, {"tpu": {"isolated": {"bf16": {"rel_l2": 2 * FLOOR, "max_abs": 1.0}}}}, 2.0),
        (GPU, {}, 2.0),
    ],
)
def test_the_platforms_own_floor_counts_and_else_the_cpus(cell, floors_on, ratio):
    value = replace(low(2 * FLOOR), cell=cell)
    row = one(value, ports=(port(floors=FLOORS, floors_on=floors_on),), cells=(cell,))
    assert {j.metric: j.ratio for j in row.judgements}["rel_l2"] == ratio


def test_a_rule_of_a_platform_decides_there_and_nowhere_else():
    loose = Budget("on-gpu", "rel_l2", "r", factor=4.0, minimum_eps_x=0.5, platforms=("gpu",))
    budgets = Budgets((*BUDGETS.rules, loose), BUDGETS.baseline)
    for cell, rule, verdict in ((GPU, "on-gpu", Verdict.PASS), (BF16, "low", Verdict.OVER_BUDGET)):
        row = one(replace(low(3 * FLOOR), cell=cell), cells=(cell,), budgets=budgets)
        assert (next(j.rule for j in row.judgements if j.metric == "rel_l2"), row.verdict) == (rule, verdict)
