"""The first divergent value of each case and cell, and the sentence that goes with it."""

from dataclasses import replace

from judge_rows import BF16, F64, matrix, row

from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.judge.diagnose import diagnose
from paritygate.judge.locate import first_divergence

SITES = ("a:out", "b:out", "c:out")


def located(rows: list[Row]):
    return first_divergence(diagnose(rows, {"f64"}))


def only(rows: list[Row]):
    (found,) = located(rows)
    return found


def test_where_everything_passes_there_is_none():
    assert located([row("a:out", Verdict.PASS), row("b:out", Verdict.SKIPPED, reason="r")]) == []


def test_a_fault_inside_a_site():
    found = only(matrix(SITES, {(F64, "isolated"): {"b:out"}, (F64, "chained"): {"b:out", "c:out"}}))
    assert (found.case, found.cell, found.row.drift.address) == ("toy.short", F64, "b:out")
    assert (found.row, found.isolated.drift.address, found.chained.drift.address) == (found.isolated, "b:out", "b:out")
    assert found.hint == "isolated and chained: the difference arises inside b"
    assert found.text == "toy.short f64/single/cpu  b:out  isolated  semantic  over"


def test_what_merely_follows_is_counted():
    found = only(matrix(SITES, {(F64, "isolated"): {"a:out"}, (F64, "chained"): {"a:out", "b:out", "c:out"}}))
    assert (found.start, found.propagated) == ("a:out", 2)
    assert found.finding == [
        "isolated and chained: the difference arises inside a",
        "merely propagated from a:out: 2 rows of this case and cell",
    ]
    rows = matrix(SITES, {(F64, "chained"): set(SITES), (BF16, "chained"): {"b:out", "c:out"}})
    found = {d.cell: d for d in located(rows)}
    assert (found[F64].propagated, found[BF16].start, found[BF16].propagated) == (2, "a:out", 2)


def test_a_fault_between_sites():
    found = only(matrix(SITES, {(F64, "isolated"): (), (F64, "chained"): {"b:out", "c:out"}}))
    assert (found.row.drift.address, found.isolated) == ("b:out", None)
    assert found.hint == "only chained: b is right on golden inputs or has no isolated replay, so look at what feeds it"


def test_a_fault_between_sites_before_one_inside():
    found = only(matrix(SITES, {(F64, "isolated"): {"c:out"}, (F64, "chained"): {"b:out", "c:out"}}))
    assert (found.row.drift.address, found.row.drift.mode) == ("b:out", "chained")
    assert found.hint == "chained first: look at what feeds b; isolated, c:out differs on its own"


def test_a_fault_that_the_chain_shows_later():
    found = only(matrix(SITES, {(F64, "isolated"): {"a:out"}, (F64, "chained"): {"c:out"}}))
    assert (found.row.drift.address, found.chained.drift.address) == ("a:out", "c:out")
    assert found.hint == "isolated: the difference arises inside a; chained it first shows at c:out"


def test_a_fault_that_the_chain_does_not_show():
    found = only(matrix(SITES, {(F64, "isolated"): {"b:out"}, (F64, "chained"): ()}))
    assert found.hint == "only isolated: b differs on golden inputs, but no chained value is over budget"


def test_one_to_blame_goes_before_an_earlier_propagated_one():
    rows = [
        row("a:out", order=0),
        row("b:out", order=1),
    ]
    found = diagnose(rows, {"f64"})
    found[0] = replace(found[0], diagnosis=Diagnosis.PROPAGATED, origin="z:out")
    (divergence,) = first_divergence(found)
    assert divergence.row.drift.address == "b:out"


def test_where_all_is_propagated_the_first_counts_and_names_the_origin():
    rows = matrix(SITES, {(F64, "chained"): {"a:out", "b:out", "c:out"}, (BF16, "chained"): {"c:out"}})
    found = {d.cell: d for d in located(rows)}
    assert list(found) == [F64, BF16]
    assert found[BF16].row.drift.address == "c:out"
    assert found[BF16].hint == "the fault is at a:out, too small to show there in this dtype"
    assert found[BF16].text == "toy.short bf16/single/cpu  c:out  chained  propagated from a:out  over"


def test_a_difference_goes_before_a_value_that_was_not_compared():
    rows = [row("a:out", Verdict.MISSING, order=0), row("b:out", order=1)]
    assert only(rows).row.drift.address == "b:out"
    found = only([row("a:out", Verdict.PASS, order=0), row("b:out", Verdict.MISSING, order=1, reason="no value")])
    assert found.hint == "nothing that was compared differs, but this value was not compared"
    assert found.text == "toy.short f64/single/cpu  b:out  isolated  missing  no value"


def test_one_finding_per_case_and_cell_in_the_order_of_the_rows():
    rows = [row("a:out", case=case, cell=cell) for case in ("y.p", "x.p") for cell in (F64, BF16)]
    assert [(d.case, d.cell) for d in located(rows)] == [("y.p", F64), ("y.p", BF16), ("x.p", F64), ("x.p", BF16)]


def test_a_module_that_the_model_does_not_run_is_the_first_to_look_at():
    rows = [
        row("a:out", Verdict.PASS, order=0),
        row("a:out", Verdict.MISSING, mode="chained", order=0, reason="nothing there"),
        row("b:out", Verdict.PASS, order=1),
        row("b:out", mode="chained", order=1),
    ]
    found = only(rows)
    assert (found.row.drift.address, found.row.verdict, found.row.diagnosis) == ("a:out", "missing", "semantic")
    assert found.row.reason == "nothing there; its module is there, but the model does not run it"
    assert found.hint == "the model does not run a, which is there"


def test_a_value_that_is_missing_alone_too_says_nothing_of_the_model():
    rows = [row("a:out", Verdict.MISSING, mode=mode, order=0) for mode in ("isolated", "chained")]
    found = only([*rows, row("b:out", mode="chained", order=1)])
    assert (found.row.drift.address, found.row.diagnosis) == ("b:out", "semantic")


def test_of_gradients_the_first_of_the_backward_pass_is_first_and_after_all_values():
    def gradient(name: str, share: float | None, order: int) -> Row:
        return row(f"gradients:out.{name}", mode="gradient", order=order, share=share)

    rows = [gradient("embed", 8.0, 9), gradient("router", 4.0, 8), gradient("down", 2.0, 7)]
    found = only(rows)
    assert found.row.drift.port == "out.down"
    assert found.hint.startswith("only gradients: the forward pass is right")
    assert only([*rows, row("a:out", order=6, mode="chained", share=2.0)]).row.drift.address == "a:out"
