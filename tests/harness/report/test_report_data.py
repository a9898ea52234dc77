"""Views of a run that sections share: outcome, order of sites, first divergence."""

from dataclasses import replace
from types import ModuleType

import pytest

from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.report.data import Outcome, ReportData, worst


def one(synthetic: ModuleType, verdict: Verdict, reason: str = "") -> Row:
    return replace(synthetic.rows("none", layers=1, cases=["a"])[0], verdict=verdict, reason=reason)


@pytest.mark.parametrize(
    ("verdicts", "problems", "outcome"),
    [
        (["pass", "pass"], (), Outcome.PASS),
        (["pass", "over_budget"], (), Outcome.FAIL),
        (["pass", "regressed"], (), Outcome.FAIL),
        (["pass", "nonfinite"], (), Outcome.FAIL),
        (["pass", "mismatch"], (), Outcome.FAIL),
        (["pass", "missing"], (), Outcome.FAIL),
        (["pass", "error"], (), Outcome.FAIL),
        (["pass", "skipped"], (), Outcome.FAIL),  # without a reason
        (["pass", "missing"], ("worker died",), Outcome.INCOMPLETE),
        (["pass", "over_budget"], ("worker died",), Outcome.FAIL),
        (["missing", "missing"], (), Outcome.NOTHING),
        ([], (), Outcome.NOTHING),
    ],
)
def test_outcome(synthetic: ModuleType, verdicts: list[str], problems: tuple[str, ...], outcome: Outcome) -> None:
    rows = tuple(one(synthetic, Verdict(v)) for v in verdicts)
    assert ReportData(synthetic.info(problems=problems), rows).outcome is outcome


def test_a_gap_in_coverage_is_no_pass(synthetic: ModuleType) -> None:
    passed, coverage = (one(synthetic, Verdict.PASS),), synthetic.coverage()
    assert ReportData(synthetic.info(), passed, coverage=coverage).outcome is Outcome.FAIL
    assert ReportData(synthetic.info(), passed, coverage=replace(coverage, gaps=())).outcome is Outcome.PASS
    assert ReportData(synthetic.info(problems=("killed",)), passed, coverage=coverage).outcome is Outcome.INCOMPLETE


def test_skipped_with_a_reason_lets_a_run_pass_but_not_alone(synthetic: ModuleType) -> None:
    skipped, passed = one(synthetic, Verdict.SKIPPED, "no such layer"), one(synthetic, Verdict.PASS)
    assert ReportData(synthetic.info(), (skipped, passed)).outcome is Outcome.PASS
    assert ReportData(synthetic.info(), (skipped,)).outcome is Outcome.NOTHING


def test_sites_are_in_execution_order_with_other_presets_woven_in(passing: ReportData) -> None:
    assert passing.sites[:5] == ("rope", "masks", "embed", "layers.0", "layers.0.input_norm")
    assert set(passing.sites[8:10]) == {"layers.0.moe", "layers.0.mlp"}
    assert passing.sites[-2:] == ("norm", "lm_head")


def test_first_divergence_is_the_earliest_row_to_blame(synthetic: ModuleType) -> None:
    rows = synthetic.rows("semantic")
    data = ReportData(synthetic.info(), tuple(reversed(rows)))
    assert len(data.first_divergences) == len(synthetic.CASES) * len(synthetic.CELLS)
    assert {(r.drift.address, r.drift.mode, r.diagnosis) for r in data.first_divergences} == {
        ("layers.1.attn:inner.q_rope", "isolated", Diagnosis.SEMANTIC)
    }


def test_a_missing_value_is_not_taken_for_the_divergence_while_a_compared_one_differs(synthetic: ModuleType) -> None:
    rows = synthetic.rows("semantic", cases=["a"])
    rows[0] = replace(rows[0], verdict=Verdict.MISSING, judgements=())
    first = ReportData(synthetic.info(), tuple(rows)).first_divergences[0]
    assert first.drift.address == "layers.1.attn:inner.q_rope"


def test_worst_rows_start_with_those_to_blame(failing: ReportData) -> None:
    first = worst(failing.rows, 20)
    assert all(row.diagnosis is not Diagnosis.PROPAGATED for row in first)
    assert first[0].verdict in (Verdict.NONFINITE, Verdict.MISMATCH, Verdict.MISSING, Verdict.ERROR)


def test_labels_keep_only_what_differs_between_cells(synthetic: ModuleType, passing: ReportData) -> None:
    assert list(passing.cell_labels.values()) == ["f64", "f32", "f16", "bf16"]
    row = synthetic.rows("none", layers=1, cases=["a"])[0]
    alone = ReportData(synthetic.info(), (row,))
    assert alone.cell_labels == {"f64/single/cpu": "f64/single/cpu"}


def test_names_that_look_alike_get_anchors_of_their_own(synthetic: ModuleType) -> None:
    row = synthetic.rows("none", layers=1, cases=["a"])[0]
    rows = tuple(replace(row, drift=replace(row.drift, site=site)) for site in ("a b", "a/b", "a?b"))
    assert len(set(ReportData(synthetic.info(), rows).anchors.values())) == 3
