"""Why a row fails and which value is to blame, on models small enough to work out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_rows import BF16, F32, F64, matrix, row

from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.judge.diagnose import diagnose

# One layer, in production order: a composite site's `out` comes after those of the sites inside it.
LAYER = (
    "embed:out",
    "l.0.norm:out",
    "l.0.attn:inner.q",
    "l.0.attn:inner.probs",
    "l.0.attn.proj:out",
    "l.0.attn:out",
    "l.0.mlp:out",
    "l.0:out",
    "norm:out",
)
ISOLATED, CHAINED = "isolated", "chained"


def told(rows: list[Row], cell: str = F64, mode: str = ISOLATED) -> dict[str, str]:
    """Address → diagnosis, and the origin where it is propagated, of the rows of one cell and mode that fail."""
    return {
        r.drift.address: f"from {r.origin}" if r.diagnosis is Diagnosis.PROPAGATED else str(r.diagnosis)
        for r in diagnose(rows, {"f64"})
        if (r.drift.cell, r.drift.mode) == (cell, mode) and r.verdict not in (Verdict.PASS, Verdict.SKIPPED)
    }


# another computation, or rounding


def test_what_differs_in_float64_is_semantic_in_every_cell():
    rows = matrix(LAYER, {(F64, ISOLATED): {"norm:out"}, (BF16, ISOLATED): {"norm:out"}})
    assert told(rows, F64) == told(rows, BF16) == {"norm:out": "semantic"}


def test_what_is_right_in_float64_is_precision():
    rows = matrix(LAYER, {(F64, ISOLATED): (), (BF16, ISOLATED): {"norm:out"}})
    assert told(rows, BF16) == {"norm:out": "precision"}


@pytest.mark.parametrize("twin", [None, Verdict.MISSING, Verdict.ERROR])
def test_without_a_float64_number_nothing_is_claimed(twin):
    rows = [row("a:out", cell=BF16, reason="over")]
    if twin is not None:
        rows.append(row("a:out", twin))
    (found, *_) = diagnose(rows, {"f64"})
    assert (found.diagnosis, found.origin) == (Diagnosis.NONE, "")
    assert found.reason == "over; run the f64 cell to tell a fault from rounding"


@pytest.mark.parametrize("verdict", [Verdict.NONFINITE, Verdict.MISMATCH, Verdict.REGRESSED])
def test_every_way_to_differ_in_float64_is_semantic(verdict):
    rows = [row("a:out", verdict), row("a:out", Verdict.OVER_BUDGET, cell=F32)]
    assert [r.diagnosis for r in diagnose(rows, {"f64"})] == [Diagnosis.SEMANTIC] * 2


def test_a_float64_difference_that_a_baseline_accepts_is_one_nevertheless():
    rows = [row("a:out", Verdict.PASS, accepted="known"), row("a:out", cell=BF16)]
    found = diagnose(rows, {"f64"})
    assert [r.diagnosis for r in found] == [Diagnosis.NONE, Diagnosis.SEMANTIC]


@pytest.mark.parametrize("other", ["f64/tp4/cpu", "f64/single/gpu"])
def test_the_twin_is_of_the_same_mesh_and_platform(other):
    rows = [row("a:out", cell=BF16), row("a:out", cell=other)]
    assert diagnose(rows, {"f64"})[0].diagnosis is Diagnosis.NONE


def test_the_twin_is_of_the_same_case_mode_and_call():
    rows = [row("a:out", cell=BF16), row("a:out#1"), row("a:out", mode=CHAINED), row("a:out", case="toy.long")]
    assert diagnose(rows, {"f64"})[0].diagnosis is Diagnosis.NONE


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.SKIPPED, Verdict.MISSING, Verdict.ERROR])
def test_what_holds_no_difference_is_left_alone(verdict):
    before = row("a:out", verdict, reason="r")
    assert diagnose([before], {"f64"}) == [before]


# isolated: by itself, or because of what it is computed from


def test_within_a_site_the_first_port_is_to_blame():
    rows = matrix(LAYER, {(F64, ISOLATED): {"l.0.attn:inner.q", "l.0.attn:inner.probs", "l.0.attn:out"}})
    assert told(rows) == {
        "l.0.attn:inner.q": "semantic",
        "l.0.attn:inner.probs": "from l.0.attn:inner.q",
        "l.0.attn:out": "from l.0.attn:inner.q",
    }


def test_within_a_site_calls_are_apart():
    rows = matrix(("a:inner.x", "a:out", "a:inner.x#1", "a:out#1"), {(F64, ISOLATED): {"a:inner.x", "a:out#1"}})
    assert told(rows) == {"a:inner.x": "semantic", "a:out#1": "semantic"}


def test_a_site_inside_is_to_blame_for_what_contains_it():
    rows = matrix(LAYER, {(F64, ISOLATED): {"l.0.attn.proj:out", "l.0.attn:out", "l.0:out"}})
    assert told(rows) == {
        "l.0.attn.proj:out": "semantic",
        "l.0.attn:out": "from l.0.attn.proj:out",
        "l.0:out": "from l.0.attn.proj:out",
    }


def test_a_site_inside_is_not_to_blame_for_what_came_before_it():
    rows = matrix(LAYER, {(F64, ISOLATED): {"l.0.attn:inner.q", "l.0.attn.proj:out", "l.0.attn:out"}})
    assert told(rows) == {
        "l.0.attn:inner.q": "semantic",
        "l.0.attn.proj:out": "semantic",  # got golden inputs, so this is a second fault
        "l.0.attn:out": "from l.0.attn:inner.q",
    }


def test_a_name_that_only_begins_alike_contains_nothing():
    rows = matrix(("l.1:out", "l.10:out", "l:out"), {(F64, ISOLATED): {"l.1:out", "l.10:out", "l:out"}})
    assert told(rows) == {"l.1:out": "semantic", "l.10:out": "semantic", "l:out": "from l.1:out"}


def test_upstream_is_not_to_blame_for_an_isolated_row():
    rows = matrix(LAYER, {(F64, ISOLATED): {"embed:out", "l.0.mlp:out", "norm:out"}})
    assert told(rows) == {"embed:out": "semantic", "l.0.mlp:out": "semantic", "norm:out": "semantic"}


# chained


def test_everything_after_the_first_difference_is_put_down_to_it():
    failing = {"l.0.norm:out", "l.0.attn:out", "l.0:out", "norm:out"}
    rows = matrix(LAYER, {(F64, ISOLATED): {"l.0.norm:out"}, (F64, CHAINED): failing})
    expected = {address: "from l.0.norm:out" for address in failing} | {"l.0.norm:out": "semantic"}
    assert told(rows, mode=CHAINED) == expected | {"l.0:out": "from l.0.norm:out"}
    assert told(rows) == {"l.0.norm:out": "semantic"}


def test_without_an_isolated_replay_too():
    rows = matrix(LAYER, {(F64, CHAINED): {"l.0.attn:inner.q", "l.0.attn:out", "norm:out"}})
    assert told(rows, mode=CHAINED) == {
        "l.0.attn:inner.q": "semantic",
        "l.0.attn:out": "from l.0.attn:inner.q",
        "norm:out": "from l.0.attn:inner.q",
    }


def test_a_fault_between_the_sites_is_semantic_where_it_first_shows():
    rows = matrix(LAYER, {(F64, ISOLATED): (), (F64, CHAINED): {"l.0.attn:inner.q", "l.0:out"}})
    assert told(rows, mode=CHAINED) == {"l.0.attn:inner.q": "semantic", "l.0:out": "from l.0.attn:inner.q"}


def test_a_fault_between_the_sites_of_a_site_is_put_down_to_the_one_around_them():
    rows = matrix(
        LAYER,
        {
            (F64, ISOLATED): {"l.0:out"},
            (F64, CHAINED): {"l.0.mlp:out", "l.0:out", "norm:out"},
            (BF16, ISOLATED): (),
            (BF16, CHAINED): {"l.0.mlp:out"},
        },
    )
    assert told(rows, mode=ISOLATED) == {"l.0:out": "semantic"}
    assert told(rows, mode=CHAINED) == {
        "l.0.mlp:out": "from l.0:out",  # right on golden inputs, so what feeds it inside l.0 is wrong
        "l.0:out": "semantic",
        "norm:out": "from l.0:out",
    }
    assert told(rows, BF16, CHAINED) == {"l.0.mlp:out": "from l.0:out"}


def test_a_site_around_is_not_to_blame_for_one_that_differs_by_itself():
    rows = matrix(LAYER, {(F64, ISOLATED): {"l.0.mlp:out", "l.0:out"}, (F64, CHAINED): {"l.0.mlp:out", "l.0:out"}})
    assert told(rows, mode=CHAINED) == {"l.0.mlp:out": "semantic", "l.0:out": "from l.0.mlp:out"}


def test_a_second_fault_downstream_stays_semantic():
    rows = matrix(
        LAYER,
        {
            (F64, ISOLATED): {"l.0.norm:out", "l.0.mlp:out", "l.0:out"},
            (F64, CHAINED): {"l.0.norm:out", "l.0.attn:out", "l.0.mlp:out", "l.0:out", "norm:out"},
        },
    )
    assert told(rows, mode=CHAINED) == {
        "l.0.norm:out": "semantic",
        "l.0.attn:out": "from l.0.norm:out",
        "l.0.mlp:out": "semantic",
        "l.0:out": "from l.0.norm:out",  # isolated, what it contains is to blame
        "norm:out": "from l.0.norm:out",
    }


def test_within_a_second_faulty_site_its_first_faulty_port_is_to_blame():
    rows = matrix(
        LAYER,
        {
            (F64, ISOLATED): {"embed:out", "l.0.attn:inner.probs", "l.0.attn:out"},
            (F64, CHAINED): {"embed:out", "l.0.attn:inner.q", "l.0.attn:inner.probs", "l.0.attn:out"},
        },
    )
    assert told(rows, mode=CHAINED) == {
        "embed:out": "semantic",
        "l.0.attn:inner.q": "from embed:out",  # right on golden inputs
        "l.0.attn:inner.probs": "semantic",
        "l.0.attn:out": "from l.0.attn:inner.probs",
    }


def test_a_second_fault_in_the_site_where_a_wrong_input_first_shows_stays_semantic():
    rows = matrix(
        LAYER,
        {
            (F64, ISOLATED): {"l.0.attn:inner.probs"},
            (F64, CHAINED): {"l.0.attn:inner.q", "l.0.attn:inner.probs", "l.0.attn:out"},
        },
    )
    assert told(rows, mode=CHAINED) == {
        "l.0.attn:inner.q": "semantic",
        "l.0.attn:inner.probs": "semantic",
        "l.0.attn:out": "from l.0.attn:inner.q",
    }


def test_a_second_fault_in_one_call_says_nothing_of_another_call():
    addresses = ("a:out", "b:out", "b:out#1")
    rows = matrix(addresses, {(F64, ISOLATED): {"a:out", "b:out"}, (F64, CHAINED): set(addresses)})
    assert told(rows, mode=CHAINED) == {"a:out": "semantic", "b:out": "semantic", "b:out#1": "from a:out"}


def test_cells_and_cases_do_not_blame_each_other():
    rows = [
        row("a:out", cell=F64, mode=CHAINED, order=0),
        row("b:out", cell=F32, mode=CHAINED, order=1),
        row("b:out", Verdict.PASS, cell=F64, mode=CHAINED, order=1),
        row("c:out", cell=F64, mode=CHAINED, order=2, case="toy.long"),
    ]
    found = diagnose(rows, {"f64"})
    assert [str(r.diagnosis) for r in found] == ["semantic", "precision", "", "semantic"]


def test_gradients_stand_for_themselves():
    rows = [
        row("a:out", cell=F64, mode=CHAINED, order=0),
        row("gradients:out.w", cell=F64, mode="gradient", order=1),
        row("gradients:out.v", cell=F64, mode="gradient", order=2),
        row("gradients:out.w", cell=BF16, mode="gradient", order=1),
    ]
    assert [(str(r.diagnosis), r.origin) for r in diagnose(rows, {"f64"})] == [("semantic", "")] * 4


# low precision hides small differences


def test_what_low_precision_shows_late_is_put_down_to_what_float64_shows_first():
    rows = matrix(
        LAYER,
        {
            (F64, CHAINED): {"l.0.norm:out", "l.0.attn:out", "l.0:out", "norm:out"},
            (BF16, CHAINED): {"l.0:out", "norm:out"},
            (F64, ISOLATED): {"l.0.attn.proj:out", "l.0.attn:out"},
            (BF16, ISOLATED): {"l.0.attn:out"},
        },
    )
    assert told(rows, BF16, CHAINED) == {"l.0:out": "from l.0.norm:out", "norm:out": "from l.0.norm:out"}
    assert told(rows, BF16, ISOLATED) == {"l.0.attn:out": "from l.0.attn.proj:out"}


def test_precision_spreads_as_any_difference_does():
    rows = matrix(
        LAYER,
        {(F64, CHAINED): (), (BF16, CHAINED): {"l.0.mlp:out", "norm:out"}, (BF16, ISOLATED): (), (F64, ISOLATED): ()},
    )
    assert told(rows, BF16, CHAINED) == {"l.0.mlp:out": "precision", "norm:out": "from l.0.mlp:out"}


def test_what_comes_after_a_value_does_not_explain_it():
    """The layer differs alone because of its attention, which says nothing of the norm before it."""
    rows = matrix(
        LAYER,
        {
            (F64, ISOLATED): {"l.0.attn:inner.q", "l.0:out"},
            (F64, CHAINED): (),
            (BF16, ISOLATED): {"l.0:out"},
            (BF16, CHAINED): {"l.0.norm:out"},
        },
    )
    assert told(rows, BF16, CHAINED) == {"l.0.norm:out": "precision"}


# whatever fails


SUBSETS = st.sets(st.sampled_from(LAYER))


@given(st.fixed_dictionaries({(c, m): SUBSETS for c in (F64, BF16) for m in (ISOLATED, CHAINED)}))
def test_order_and_verdicts_stay_and_blame_ends_at_a_row_that_fails_by_itself(failing):
    rows = matrix(LAYER, failing)
    found = diagnose(rows, {"f64"})
    assert [(r.drift, r.verdict) for r in found] == [(r.drift, r.verdict) for r in rows]
    by_key = {(r.drift.cell, r.drift.mode, r.drift.address): r for r in found}
    for r in found:
        assert (r.diagnosis is Diagnosis.NONE) == (r.verdict is Verdict.PASS)
        assert bool(r.origin) == (r.diagnosis is Diagnosis.PROPAGATED)
        if r.origin:
            seen = [by_key[c, m, r.origin] for c in (r.drift.cell, F64) for m in (r.drift.mode, ISOLATED)]
            blamed = next(b for b in seen if b.diagnosis in (Diagnosis.SEMANTIC, Diagnosis.PRECISION))
            around = r.drift.site.startswith(f"{blamed.drift.site}.") and r.drift.mode == CHAINED
            assert blamed.drift.order < r.drift.order or around


@given(st.fixed_dictionaries({(c, m): SUBSETS for c in (F64, BF16) for m in (ISOLATED, CHAINED)}), st.randoms())
def test_the_order_of_the_rows_does_not_matter(failing, random):
    rows = matrix(LAYER, failing)
    expected = {r.drift.key: r for r in diagnose(rows, {"f64"})}
    random.shuffle(rows)
    assert {r.drift.key: r for r in diagnose(rows, {"f64"})} == expected


def test_a_value_seen_in_the_chain_only_is_to_blame_before_the_site_around_it():
    rows = [
        row("tower.sum:out", mode="chained", order=0),
        row("tower:out", mode="isolated", order=1),
        row("tower:out", mode="chained", order=1),
    ]
    found = {(r.drift.address, r.drift.mode): (r.diagnosis, r.origin) for r in diagnose(rows, {"f64"})}
    assert found["tower.sum:out", "chained"] == ("semantic", "")
    # Replayed alone, and right, it is the tower that feeds it wrong values.
    alone = row("tower.sum:out", Verdict.PASS, mode="isolated", order=0)
    found = {(r.drift.address, r.drift.mode): (r.diagnosis, r.origin) for r in diagnose([alone, *rows], {"f64"})}
    assert found["tower.sum:out", "chained"] == ("propagated", "tower:out")
