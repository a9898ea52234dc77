"""Run against run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_rows import row

from paritygate.core.comparison import Status
from paritygate.core.drift import Verdict
from paritygate.judge.compare import STEP, compare

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
