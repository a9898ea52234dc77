"""One verdict per expected value: what passes, what does not, and what can never."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_rows import BF16, BUDGETS, F32, F64, FLOOR, FLOORS, accepted, decide, drift, low, one, port

from paritygate.core.budget import Budgets
from paritygate.core.codec import canonical
from paritygate.core.drift import Verdict
from paritygate.core.errors import UsageError
from paritygate.core.site import Kind
from paritygate.metrics.base import LARGEST

# what is within


@pytest.mark.parametrize(
    ("rel_l2", "verdict", "ratio"),
    [
        (0.0, Verdict.PASS, 0.0),
        (FLOOR, Verdict.PASS, 1.0),
        (2 * FLOOR, Verdict.PASS, 2.0),
        (2 * FLOOR * (1 + 2.0**-52), Verdict.OVER_BUDGET, 2 * (1 + 2.0**-52)),
    ],
)
def test_low_precision_is_judged_over_the_floor(rel_l2, verdict, ratio):
    row = one(low(rel_l2))
    judgement = next(j for j in row.judgements if j.metric == "rel_l2")
    assert (row.verdict, judgement.ratio, judgement.limit, judgement.rule) == (verdict, ratio, 2.0, "low")
    assert (judgement.floor, judgement.minimum, judgement.ok) == (FLOOR, 2.0**-9, verdict is Verdict.PASS)


PEERS = {"bf16": "bfloat16", "f32": "float32"}


def test_a_value_of_another_dtype_than_the_peers_is_a_mismatch():
    wide = drift(cell=BF16, dtype="float32", metrics={"rel_l2": 0.0, "max_abs": 0.0})
    row = one(wide, ports=(port(floors=FLOORS, dtypes=PEERS),))
    assert row.verdict is Verdict.MISMATCH
    assert row.reason.startswith("computed in float32, where the reference in this cell has bfloat16")
    assert one(low(FLOOR), ports=(port(floors=FLOORS, dtypes=PEERS),)).verdict is Verdict.PASS


def test_the_oracles_cell_must_be_in_the_oracles_dtype():
    narrow = drift(cell=F64, dtype="float32", metrics={"rel_l2": 0.0})
    assert one(narrow, cells=(F64,)).verdict is Verdict.MISMATCH


def test_the_minimum_is_of_the_dtype_that_the_peer_has_at_the_port():
    island = (port(floors={"isolated": {"bf16": {"rel_l2": 0.0, "max_abs": 0.0}}}, dtypes={"bf16": "float32"}),)
    value = drift(cell=BF16, dtype="float32", metrics={"rel_l2": 2.0**-9, "max_abs": 0.0})
    row = one(value, ports=island)
    assert row.verdict is Verdict.OVER_BUDGET
    assert {j.metric: j.minimum for j in row.judgements}["rel_l2"] == 0.5 * 2.0**-24


def test_the_minimum_holds_where_the_peer_is_exact():
    exact = (port(floors={"isolated": {"bf16": {"rel_l2": 0.0, "max_abs": 0.0}}}),)
    at_limit = low(2 * 0.5 * 2.0**-8, 4 * 0.5 * 2.0**-8 * 8, scale=8.0)  # max_abs: of the largest magnitude
    assert one(at_limit, ports=exact).verdict is Verdict.PASS
    assert one(low(2.0**-7, 0.0, scale=8.0), ports=exact).verdict is Verdict.OVER_BUDGET
    assert one(low(0.0, 2.0**-3, scale=8.0), ports=exact).verdict is Verdict.OVER_BUDGET


def test_the_floor_of_the_rows_own_mode_counts():
    floors = {
        "isolated": {"bf16": {"rel_l2": FLOOR, "max_abs": 1.0}},
        "chained": {"bf16": {"rel_l2": 16 * FLOOR, "max_abs": 1.0}},
    }
    drifts = [low(16 * FLOOR, mode=mode) for mode in ("isolated", "chained")]
    rows = decide(*drifts, ports=(port(floors=floors),), modes=("isolated", "chained"))
    assert {row.drift.mode: row.verdict for row in rows} == {
        "isolated": Verdict.OVER_BUDGET,
        "chained": Verdict.PASS,
    }


def test_float64_is_judged_against_the_limit_whatever_floor_there_is():
    def at(value):
        return one(drift(metrics={"rel_l2": value, "max_abs": 9.0}), cells=(F64,))

    assert at(2.0**-40).verdict is Verdict.PASS
    row = at(2.0**-39)
    assert row.verdict is Verdict.OVER_BUDGET
    assert [(j.metric, j.ratio, j.limit, j.floor) for j in row.judgements] == [("rel_l2", 2.0**-39, 2.0**-40, 0.0)]
    assert row.reason == "rel_l2 1.8e-12 (limit 9.1e-13, rule 'fixed')"


def test_a_rule_over_the_floor_leaves_float64_to_a_limit_below_it():
    swapped = Budgets((BUDGETS.rules[1], BUDGETS.rules[0]), BUDGETS.baseline)
    row = one(drift(metrics={"rel_l2": 0.0}), cells=(F64,), budgets=swapped)
    assert [j.rule for j in row.judgements] == ["fixed"]
    alone = one(drift(metrics={"rel_l2": 0.0}), cells=(F64,), budgets=Budgets(BUDGETS.rules[1:2], BUDGETS.baseline))
    assert (alone.verdict, alone.reason) == (Verdict.ERROR, "no rule of the budgets judges a float of f64 here")


def test_a_choice_is_judged_by_what_differs():
    choices = (port(kind=Kind.INDEX),)
    equal = drift(cell=BF16, kind="index", metrics={"agreement": 1.0})
    assert one(equal, ports=choices).verdict is Verdict.PASS
    row = one(drift(cell=BF16, kind="index", metrics={"agreement": 0.75}), ports=choices)
    assert (row.verdict, row.judgements[0].value) == (Verdict.OVER_BUDGET, 0.25)
    assert row.reason.split("; ")[0] == "1 - agreement 0.25 (limit 0, rule 'choice')"


def test_every_judged_metric_must_be_within():
    row = one(low(3 * FLOOR, 5 * FLOOR))
    assert row.verdict is Verdict.OVER_BUDGET
    assert sorted(row.reason.split("; ")[:2]) == [
        "max_abs 5× the noise 0.016 (limit 4×, rule 'largest')",
        "rel_l2 3× the noise 0.016 (limit 2×, rule 'low')",
    ]
    assert one(low(0.0, 5 * FLOOR)).verdict is Verdict.OVER_BUDGET


def test_the_first_rule_that_fits_decides():
    tight = replace(BUDGETS.rules[1], name="tight", factor=0.5, site="a", port="out", mode="isolated")
    first = Budgets((tight, *BUDGETS.rules), BUDGETS.baseline)
    last = Budgets((*BUDGETS.rules, tight), BUDGETS.baseline)
    assert one(low(FLOOR), budgets=first).verdict is Verdict.OVER_BUDGET
    assert one(low(FLOOR), budgets=last).verdict is Verdict.PASS


def test_a_rule_may_be_for_a_kind_of_site_and_for_small_tensors():
    small = replace(BUDGETS.rules[1], name="small", factor=4.0, kind="glue", values_below=25)
    kinds = {"glue": ("b", "a*"), "rest": ("*",)}

    def verdict(rule, kinds=kinds):
        return one(low(3 * FLOOR), budgets=replace(BUDGETS, rules=(rule, *BUDGETS.rules), kinds=kinds)).verdict

    assert verdict(small) is Verdict.PASS  # 2 · 3 · 4 values
    assert verdict(replace(small, values_below=24)) is Verdict.OVER_BUDGET
    assert verdict(replace(small, kind="rest")) is Verdict.OVER_BUDGET
    assert verdict(small, {}) is Verdict.OVER_BUDGET


# what is not a pass


def test_a_value_that_nobody_measured_is_missing():
    row = one(ports=(port("b.c:inner.q#1", order=7, floors=FLOORS),))
    assert (row.verdict, row.drift.address, row.drift.order) == (Verdict.MISSING, "b.c:inner.q#1", 7)
    assert (row.drift.shape, row.drift.metrics, row.reason) == ((2, 3, 4), {}, "the replay wrote no value")


def test_expected_is_every_port_in_every_cell_and_its_own_modes():
    ports = (
        port("a:in.x", 0),
        port("a:out", 1, floors=FLOORS),
        port("glue:out", 2, floors=FLOORS, modes=("chained",)),
    )
    rows = decide(ports=ports, cells=(F64, BF16, BF16), modes=("isolated", "chained", "chained"))
    found = [(row.drift.cell, row.drift.mode, row.drift.address) for row in rows]
    assert found == [
        (cell, mode, address)
        for cell in (BF16, F64)
        for mode, address in (("chained", "a:out"), ("chained", "glue:out"), ("isolated", "a:out"))
    ]
    assert {row.verdict for row in rows} == {Verdict.MISSING}


@pytest.mark.parametrize(
    ("problem", "verdict"),
    [("nonfinite", Verdict.NONFINITE), ("mismatch", Verdict.MISMATCH), ("error", Verdict.ERROR)],
)
def test_a_problem_is_its_verdict_whatever_the_numbers_say(problem, verdict):
    line = accepted(low(), rel_l2=100.0, max_abs=100.0)
    row = one(low(0.0, 0.0, problem=problem, detail="why"), lines=[line])
    assert (row.verdict, row.accepted, row.judgements) == (verdict, "", ())
    assert row.reason.startswith("why")


@pytest.mark.parametrize("problem", ["skipped", "pass", "what"])
def test_a_problem_that_is_no_problem_is_an_error(problem):
    row = one(low(problem=problem, detail="because"))
    assert (row.verdict, row.reason) == (Verdict.ERROR, f"unknown problem {problem!r}: because")


def test_values_that_are_not_finite_count_even_without_a_problem():
    row = one(low(nonfinite=3))
    assert (row.verdict, row.reason.split("; ")[0]) == (Verdict.NONFINITE, "3 values are not finite")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_an_error_that_can_be_written(bad):
    row = one(low(bad, 0.0))
    assert (row.verdict, row.reason) == (Verdict.ERROR, "not a number: rel_l2")
    canonical(row)


def test_measured_twice_is_an_error_even_where_both_agree():
    row = one(low(), low())
    assert (row.verdict, row.reason) == (Verdict.ERROR, "measured 2 times")


def test_a_value_that_no_golden_asks_for_is_an_error():
    rows = decide(low(), low(mode="chained"), drift("z:out", BF16, metrics={"rel_l2": 0.0}), low(case="other.case"))
    assert [row.verdict for row in rows].count(Verdict.PASS) == 1
    strangers = [row for row in rows if row.verdict is Verdict.ERROR]
    assert len(strangers) == 3
    assert {row.reason for row in strangers} == {
        "measured, but no golden of this run asks for it in this cell and mode"
    }


def test_without_a_floor_there_is_no_pass():
    row = one(low(), ports=(port(floors={"chained": FLOORS["chained"]}),))
    assert row.verdict is Verdict.ERROR
    assert row.reason == "no floor for max_abs of bf16, isolated: paritygate golden floors"


def test_without_a_rule_there_is_no_pass():
    nothing = Budgets(BUDGETS.rules[3:], BUDGETS.baseline)
    row = one(low(), budgets=nothing)
    assert (row.verdict, row.reason) == (Verdict.ERROR, "no rule of the budgets judges a float of bf16 here")


def test_without_the_metric_that_a_rule_judges_there_is_no_pass():
    row = one(drift(cell=BF16, metrics={"rel_l2": 0.0}))
    assert (row.verdict, row.reason) == (Verdict.ERROR, "max_abs was not measured, and rule 'largest' judges it")


def test_a_drift_from_nothing_writes_a_finite_ratio():
    exact = {"isolated": {"bf16": {"rel_l2": 0.0, "max_abs": 0.0}}}
    row = one(low(0.0, 1.0, scale=0.0), ports=(port(floors=exact),))
    assert next(j for j in row.judgements if j.metric == "max_abs").ratio == LARGEST
    assert "max_abs infinitely many times the noise 0 (limit 4×" in row.reason
    canonical(row)


# baseline


def accepted_at(value, now, **kwargs):
    return one(low(now), lines=[accepted(low(), rel_l2=value, max_abs=0.0)], **kwargs)


def test_accepted_drift_passes_with_its_reason():
    row = accepted_at(8 * FLOOR, 8 * FLOOR)
    assert (row.verdict, row.accepted) == (Verdict.PASS, "known")
    assert row.reason.startswith("rel_l2 8× the noise")
    assert accepted_at(8 * FLOOR, 10 * FLOOR).verdict is Verdict.PASS


def test_worse_than_accepted_is_regressed():
    row = accepted_at(8 * FLOOR, 10.5 * FLOOR)
    assert (row.verdict, row.accepted) == (Verdict.REGRESSED, "")
    assert row.reason.split("; ")[0] == "rel_l2 0.16 is more than 1.25 × the 0.12 that was accepted in run-1"


def test_worse_than_accepted_is_regressed_within_budget_too():
    assert accepted_at(FLOOR / 2, FLOOR).verdict is Verdict.REGRESSED
    assert accepted_at(FLOOR, FLOOR).verdict is Verdict.PASS


def test_within_budget_is_no_pass_by_acceptance():
    assert accepted_at(FLOOR, FLOOR).accepted == ""


def test_rounding_below_the_minimum_is_never_a_regression():
    assert accepted_at(0.0, 2.0**-9 * 1.25).verdict is Verdict.PASS
    assert accepted_at(0.0, 2.0**-9 * 1.5).verdict is Verdict.REGRESSED


def test_a_fixed_limit_is_no_regression_below_it():
    def at(value, base):
        line = accepted(drift(), rel_l2=base)
        return one(drift(metrics={"rel_l2": value, "max_abs": 0.0}), cells=(F64,), lines=[line])

    assert at(2.0**-41, base=2.0**-50).verdict is Verdict.PASS
    assert at(2.0**-40 * 1.125, base=2.0**-50).verdict is Verdict.OVER_BUDGET
    assert at(2.0**-39, base=2.0**-50).verdict is Verdict.REGRESSED
    assert at(2.0**-30, base=2.0**-30).verdict is Verdict.PASS
    assert at(2.0**-29, base=2.0**-30).verdict is Verdict.REGRESSED


def test_an_accepted_choice_may_not_flip_further():
    def at(agreement):
        now = drift(cell=BF16, kind="index", metrics={"agreement": agreement})
        return one(now, ports=(port(kind=Kind.INDEX),), lines=[accepted(now, agreement=0.75)])

    assert (at(0.75).verdict, at(0.75).accepted) == (Verdict.PASS, "known")
    assert at(0.5).verdict is Verdict.REGRESSED


def test_what_was_never_accepted_is_over_budget():
    line = accepted(low(), rel_l2=8 * FLOOR)  # from before max_abs was measured
    assert one(low(8 * FLOOR, 0.0), lines=[line]).verdict is Verdict.PASS
    assert one(low(8 * FLOOR, 8 * FLOOR), lines=[line]).verdict is Verdict.OVER_BUDGET


def test_a_baseline_of_another_row_does_not_help():
    other = accepted(low(mode="chained"), rel_l2=100.0, max_abs=100.0)
    assert one(low(8 * FLOOR), lines=[other]).verdict is Verdict.OVER_BUDGET


# the whole


@given(
    st.floats(0, 1e3),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
    st.sampled_from(["", "nonfinite", "mismatch", "error"]),
    st.booleans(),
)
def test_a_pass_is_within_budget_or_accepted(value, floor, base, problem, has_line):
    ports = (port(floors={"isolated": {"bf16": {"rel_l2": floor, "max_abs": 0.0}}}),)
    line = [accepted(low(), rel_l2=base, max_abs=0.0)] if has_line else []
    row = one(low(value, problem=problem), ports=ports, lines=line)
    within = value <= 2 * max(floor, 2.0**-9) * (1 + 2.0**-52)
    if row.verdict is Verdict.PASS:
        assert not problem
        assert within or (has_line and value <= base * 1.25)
        assert bool(row.accepted) == (not all(j.ok for j in row.judgements))
    else:
        assert row.reason


def test_rows_are_sorted_by_case_cell_mode_and_order():
    ports = [port(f"s{i}:out", order=9 - i, floors=FLOORS) for i in range(4)]
    rows = decide(ports=ports, cells=(F64, F32, BF16), modes=("isolated", "chained"))
    keys = [(row.drift.case, row.drift.cell, row.drift.mode, row.drift.order) for row in rows]
    assert keys == sorted(keys)
    assert len(keys) == 4 * 3 * 2


@pytest.mark.parametrize(
    ("cells", "modes", "text"),
    [
        (("bf61/single/cpu",), ("isolated",), "unknown dtype policy: bf61"),
        ((BF16,), ("alone",), "unknown mode: alone"),
        (("bf16",), ("isolated",), "bad cell: 'bf16'"),
    ],
)
def test_unknown_names_are_refused(cells, modes, text):
    with pytest.raises(UsageError, match=f"^{text}"):
        decide(cells=cells, modes=modes)
