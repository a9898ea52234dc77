"""Run against run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_rows import BF16, F64, row

from paritygate.core.budget import Accepted
from paritygate.core.comparison import Status
from paritygate.core.drift import Verdict
from paritygate.core.run import RunInfo
from paritygate.judge.compare import STEP, compare, with_accepted, with_run

PASS, OVER = Verdict.PASS, Verdict.OVER_BUDGET


def status(before, after) -> Status:
    (change,) = compare([before] if before else [], [after] if after else [])
    return change.status


def at(share: float, verdict: Verdict | None = None):
    return row("a:out", verdict or (PASS if share <= 1 else OVER), share=share)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (at(0.5), at(0.5), Status.EQUAL),
        (at(0.5), at(0.5 + STEP / 2), Status.EQUAL),
        (at(0.5), at(0.5 + 2 * STEP), Status.WORSE),
        (at(0.5), at(0.5 - 2 * STEP), Status.BETTER),
        (at(1e-6), at(1e-3), Status.EQUAL),  # nothing of a budget, and more of nothing
        (at(1e9), at(1.01e9), Status.EQUAL),  # far over budget, the step is relative
        (at(1e9), at(1.2e9), Status.WORSE),
        (at(1e9), at(1e8), Status.BETTER),
        (at(0.9), at(1.1), Status.BROKEN),
        (at(1.1), at(0.9), Status.FIXED),
        (at(1.1), row("a:out", Verdict.NONFINITE), Status.WORSE),
        (row("a:out", Verdict.MISSING), at(1.1), Status.BETTER),
        (row("a:out", Verdict.MISSING), row("a:out", Verdict.ERROR), Status.EQUAL),
        (None, at(0.5), Status.NEW),
        (at(0.5), None, Status.GONE),
        (at(0.5), row("a:out", Verdict.SKIPPED), Status.GONE),
        (row("a:out", Verdict.SKIPPED), at(0.5), Status.NEW),
        (at(2.0, PASS), at(2.0, OVER), Status.BROKEN),  # a baseline no longer accepts it
    ],
)
def test_status(before, after, expected):
    assert status(before, after) is expected


def test_skipped_in_both_is_no_change():
    skipped = row("a:out", Verdict.SKIPPED)
    assert compare([skipped], [skipped]) == []


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_there_and_back_are_opposites(one, other):
    opposite = {
        Status.BROKEN: Status.FIXED, Status.FIXED: Status.BROKEN, Status.WORSE: Status.BETTER,
        Status.BETTER: Status.WORSE, Status.EQUAL: Status.EQUAL,
    }  # fmt: skip
    assert status(at(other), at(one)) is opposite[status(at(one), at(other))]
    assert status(at(one), at(one)) is Status.EQUAL


def test_worst_changes_come_first_then_production_order():
    before = [row(f"s{i}:out", PASS, order=i, share=0.5) for i in range(5)]
    after = [
        row("s0:out", PASS, order=0, share=0.5),
        row("s1:out", OVER, order=1, share=3.0),
        row("s2:out", PASS, order=2, share=0.1),
        row("s3:out", OVER, order=3, share=2.0),
        row("s5:out", PASS, order=5, share=0.5),
    ]
    changes = compare(iter(before), iter(after))
    assert [(str(c.status), c.row.drift.address) for c in changes] == [
        ("broken", "s1:out"),
        ("broken", "s3:out"),
        ("gone", "s4:out"),
        ("new", "s5:out"),
        ("better", "s2:out"),
        ("equal", "s0:out"),
    ]


def test_both_values_of_every_metric_are_given():
    before = row("a:out", PASS, share=0.5, metrics={"rel_l2": 0.001, "cosine": 1.0})
    after = row("a:out", OVER, share=3.0, metrics={"rel_l2": 0.006, "sqnr": 44.0})
    (change,) = compare([before], [after])
    assert change.metrics == {"rel_l2": (0.001, 0.006), "cosine": (1.0, None), "sqnr": (None, 44.0)}
    assert change.text == ("broken  toy.short f64/single/cpu isolated a:out  pass → over_budget  rel_l2 0.001 → 0.006")
    (new,) = compare([], [after])
    assert new.text == "new  toy.short f64/single/cpu isolated a:out  absent → over_budget  rel_l2 none → 0.006"


def with_digest(share: float, digest: str, **fields):
    return row("a:out", PASS if share <= 1 or fields.get("accepted") else OVER, share=share, digest=digest, **fields)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (with_digest(0.5, "5a"), with_digest(0.5, "5a"), Status.IDENTICAL),
        (with_digest(0.5, "5a"), with_digest(0.5, "0d"), Status.EQUAL),
        (with_digest(0.5, ""), with_digest(0.5, ""), Status.EQUAL),  # nobody noted any bits
        (with_digest(0.4, "5a"), with_digest(0.9, "5a"), Status.IDENTICAL),  # another budget, the same value
        (with_digest(0.5, "5a"), with_digest(1.5, "5a"), Status.BROKEN),
        (with_digest(0.5, "5a"), with_digest(1.5, "0d", accepted="r"), Status.WORSE),
        (with_digest(1.5, "5a", accepted="r"), with_digest(0.5, "0d"), Status.FIXED),
        (with_digest(1.5, "5a", accepted="r"), with_digest(1.5, "0d", accepted="r"), Status.EQUAL),
        (with_digest(1.5, "5a", accepted="r"), with_digest(1.5, "0d"), Status.BROKEN),
        (with_digest(1.5, "5a"), with_digest(1.5, "0d", accepted="r"), Status.FIXED),
    ],
)
def test_bits_and_what_only_a_baseline_lets_pass(before, after, expected):
    assert status(before, after) is expected


def info(**changes) -> RunInfo:
    values = {"cases": ("toy.short",), "cells": (F64,), "modes": ("isolated",)} | changes
    return RunInfo("run-8", "toy", started="", command=(), goldens={}, versions={}, **values)


def accepted(address: str, share: float, digest: str = "", **fields) -> Accepted:
    site, _, port = address.partition(":")
    place = {"case": "toy.short", "cell": F64, "mode": "isolated"} | fields
    verdict = "pass" if share <= 1 else "over_budget"
    return Accepted(
        **place, site=site, port=port, call=0, metrics={"rel_l2": share * 2.0}, verdict=verdict, reason="r",
        run="run-7", date="2026-01-02", shares={"rel_l2": share}, digest=digest,
    )  # fmt: skip


def test_with_what_was_accepted_only_lines_of_the_run_count():
    lines = [
        accepted("same:out", 1.5, "5a"), accepted("worse:out", 0.5), accepted("broken:out", 1.5),
        accepted("gone:out", 1.5), accepted("fixed:out", 1.5), accepted("same:out", 1.5, cell=BF16),
        accepted("same:out", 1.5, mode="chained"), accepted("same:out", 1.5, case="toy.long"),
    ]  # fmt: skip
    rows = [
        row("same:out", PASS, share=1.5, accepted="r", digest="5a"),
        row("worse:out", PASS, share=0.9),
        row("broken:out", Verdict.REGRESSED, share=3.0),
        row("fixed:out", PASS, share=0.7),
        row("never.accepted:out", OVER, share=9.0),
    ]
    found = with_accepted(lines, info(), rows)
    assert found.against == "the accepted baseline"
    assert found.counts == {"broken": 1, "worse": 1, "gone": 1, "fixed": 1, "bit-identical": 1}
    assert found.words == "1 broken, 1 worse, 1 gone, 1 fixed, 1 bit-identical"
    assert [c.row.drift.site for c in found.changed] == ["broken", "worse", "gone", "fixed"]
    assert found.changed[0].text == (
        "broken  toy.short f64/single/cpu isolated broken:out  pass → regressed  rel_l2 3 → 6"
    )
    assert with_accepted([], info(), rows).words == "no rows"
    assert with_run(info(), rows, rows).against == "run run-8"
