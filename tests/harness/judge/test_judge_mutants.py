"""What is said of a planted fault: caught or not, at the right site, for the right reason; and judged again."""

from dataclasses import replace

import pytest
from judge_rows import BF16, CASE, F64, drift, golden, port

from paritygate.core.budget import BaselineRule, Budget, Budgets
from paritygate.core.drift import Diagnosis, Element
from paritygate.core.fault import Fault
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.judge.mutants import caught_again, judge_mutants

FLOORS = {mode: {"bf16": {"rel_l2": 0.25}} for mode in ("isolated", "chained")}
GOLDEN = golden(*(port(address, order, floors=FLOORS) for order, address in enumerate(("a:out", "b:out"))))
BUDGETS = Budgets(
    (
        Budget("fixed", "rel_l2", "r", limit=2.0**-40, dtype="f64"),
        Budget("low", "rel_l2", "r", factor=2.0, minimum_eps_x=0.5),
    ),
    BaselineRule(1.25, "r"),
)
SEMANTIC = Fault("off-by-one", "semantic", (), f"toy/{CASE}", at=("b:*",))


def mutants(fault: Fault, modes=("isolated", "chained"), **over: set[str]) -> dict[str, Mutant]:
    """By dtype; `over` names the addresses that differ there in `modes`, by eight times what is allowed."""
    drifts = [
        drift(
            address, cell, mode, order,
            metrics={"rel_l2": 4.0 if mode in modes and address in over.get(dtype, ()) else 0.0},
            worst=(Element((0, 0, 0), 1.0, 2.0),),
            dtype="float64" if dtype == "f64" else "bfloat16",
        )
        for dtype, cell in (("f64", F64), ("bf16", BF16))
        for mode in ("isolated", "chained")
        for order, address in enumerate(("a:out", "b:out"))
    ]  # fmt: skip
    return {m.cell.partition("/")[0]: m for m in judge_mutants("g", fault, drifts, GOLDEN, [F64, BF16], BUDGETS)}


def test_a_fault_at_its_site_in_every_cell():
    found = mutants(SEMANTIC, f64={"b:out"}, bf16={"b:out"})
    assert [(m.caught, m.blamed, m.diagnosis, m.is_right) for m in found.values()] == [
        (True, "b:out", Diagnosis.SEMANTIC, True)
    ] * 2
    assert (found["f64"].expected, found["bf16"].expected) == (True, False)
    assert KillMatrix(tuple(found.values())).ok


def test_a_cell_that_hides_it_at_its_site_names_it_by_the_float64_one():
    chained = ("a:out", "b:out")
    found = mutants(replace(SEMANTIC, at=("a:out",)), ("chained",), f64=set(chained), bf16={"b:out"})
    assert [(m.caught, m.blamed, m.diagnosis) for m in found.values()] == [(True, "a:out", Diagnosis.SEMANTIC)] * 2
    assert all(mutant.is_right for mutant in found.values())


@pytest.mark.parametrize(
    ("fault", "over", "blamed", "site", "reason"),
    [
        (SEMANTIC, {"f64": {"a:out"}}, "a:out", False, True),
        (replace(SEMANTIC, kind="precision", sees="bf16"), {"bf16": {"b:out"}}, "b:out", True, True),
        (replace(SEMANTIC, sees="bf16"), {"bf16": {"b:out"}}, "b:out", True, False),
    ],
)
def test_where_and_why_are_held_against_the_fault(fault, over, blamed, site, reason):
    found = mutants(fault, **over)[fault.sees]
    assert (found.expected, found.caught, found.blamed) == (True, True, blamed)
    assert (found.blamed_right, found.diagnosis_right) == (site, reason)
    assert KillMatrix((found,)).ok is (site and reason)


@pytest.mark.parametrize(("alone", "reason"), [((), True), (("b:out",), False)])
def test_a_fault_of_sharding_is_one_where_one_device_is_right(alone, reason):
    fault = replace(SEMANTIC, kind="sharding", mesh="tp2")
    on_mesh = F64.replace("single", "tp2")
    drifts = [
        drift(address, cell, mode, order, metrics={"rel_l2": 4.0 if address in wrong else 0.0})
        for cell, wrong in ((F64, alone), (on_mesh, ("b:out",)))
        for mode in ("isolated", "chained")
        for order, address in enumerate(("a:out", "b:out"))
    ]
    single, found = judge_mutants("g", fault, drifts, GOLDEN, [F64, on_mesh], BUDGETS)
    assert (single.expected, single.caught, single.mesh) == (False, bool(alone), "single")
    assert (found.expected, found.caught, found.blamed_right, found.mesh) == (True, True, True, "tp2")
    assert found.diagnosis_right is reason
    assert found.diagnosis is (Diagnosis.SHARDING if reason else Diagnosis.SEMANTIC)


def test_a_fault_that_nothing_shows_is_missed_where_it_must_be_seen():
    matrix = KillMatrix(tuple(mutants(SEMANTIC).values()))
    assert [mutant.cell for mutant in matrix.missed] == [F64]
    assert (matrix.kill_rate, matrix.blame_rate, matrix.ok) == (0.0, 0.0, False)


def test_a_harmless_variant_must_pass_everywhere():
    harmless = Fault("same", "harmless", (), f"toy/{CASE}")
    assert KillMatrix(tuple(mutants(harmless).values())).ok
    matrix = KillMatrix(tuple(mutants(harmless, bf16={"a:out"}).values()))
    assert ([mutant.cell for mutant in matrix.alarms], matrix.ok) == ([BF16], False)
    assert not KillMatrix(()).ok, "nothing planted shows nothing"


def test_one_in_twenty_may_be_misblamed():
    right = mutants(SEMANTIC, f64={"b:out"})["f64"]
    wrong = replace(right, blamed_right=False)
    assert KillMatrix((right,) * 19 + (wrong,)).ok
    assert not KillMatrix((right,) * 18 + (wrong,)).ok


def test_what_is_kept_can_be_judged_again():
    found = mutants(SEMANTIC, f64={"b:out"}, bf16={"b:out"})
    assert [caught_again(m, GOLDEN, BUDGETS) for m in found.values()] == [True, True]
    wide = replace(BUDGETS, rules=(Budget("fixed", "rel_l2", "r", limit=8.0),))
    assert [caught_again(m, GOLDEN, wide) for m in found.values()] == [False, False]
    assert all(not d.worst for m in found.values() for d in m.drifts)

    hidden = mutants(SEMANTIC)["bf16"]
    assert hidden.drifts and not caught_again(hidden, GOLDEN, BUDGETS)
    assert not caught_again(hidden, GOLDEN, replace(BUDGETS, rules=(Budget("none", "rel_l2", "r", limit=0.0),)))
    assert caught_again(hidden, GOLDEN, replace(BUDGETS, rules=())), "what no rule judges is no pass"
