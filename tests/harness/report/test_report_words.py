"""How numbers and drifts are written."""

import math
from dataclasses import replace
from types import ModuleType

import pytest

from paritygate.core.drift import Judgement, Verdict
from paritygate.report.squares import share_words, square
from paritygate.report.words import drift_words, memory, nearness, number, row_words, seconds, times


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00123, "0.00123"), (12.34, "12.3"), (1.25e-7, "1.25e-07"), (1e-12, "1e-12"), (-2e9, "-2e+09")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "0.05×"),
        (1.3, "1.3×"),
        (1.274, "1.27×"),
        (12.7, "12.7×"),
        (250.4, "250×"),
        (1.23e7, "1.2e7×"),
        (1e300, "∞×"),
        (0.0, "0.0×"),
        (1e-5, "1.0e-5×"),
    ],
)
def test_factors(value: float, text: str) -> None:
    assert times(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.001, "0"), (0.42, ".42"), (1.0, "1.0"), (7.61, "7.6"), (250.0, "250×")])
def test_shares_are_short(value: float, text: str) -> None:
    assert share_words(value) == text


def test_units() -> None:
    assert (seconds(43.5), seconds(130), memory(3 << 20), memory(3 << 30)) == (
        "43.5 s",
        "2 min 10 s",
        "3 MiB",
        "3.00 GiB",
    )


@pytest.mark.parametrize(
    ("judgement", "text"),
    [
        (Judgement("rel_l2", 1.3e-3, 1e-3, 1e-4, 1.3, 2.0, "r", True), "rel_l2 1.3× the noise (limit 2.0×)"),
        (Judgement("rel_l2", 3e-3, 0.0, 1e-3, 3.0, 2.0, "r", False), "rel_l2 3.0× the rounding floor (limit 2.0×)"),
        (Judgement("rel_l2", 3e-7, 0.0, 0.0, 3e-7, 1e-12, "r", False), "rel_l2 3e-07 (limit 1e-12)"),
        (Judgement("agreement", 0.125, 0.0, 0.0, 0.125, 0.0, "r", False), "1 − agreement 0.125 (limit 0)"),
    ],
)
def test_drift_in_words(synthetic: ModuleType, judgement: Judgement, text: str) -> None:
    row = synthetic.rows("none", layers=1, cases=["a"])[0]
    measured = {"agreement": 0.875} if judgement.metric == "agreement" else {judgement.metric: judgement.value}
    row = replace(row, drift=replace(row.drift, metrics=measured), judgements=(judgement,))
    assert drift_words(row, judgement) == text


def test_under_a_limit_of_zero_any_drift_is_infinitely_far() -> None:
    assert nearness(Judgement("agreement", 0.125, 0.0, 0.0, 0.125, 0.0, "r", False)) == math.inf
    assert nearness(Judgement("agreement", 0.0, 0.0, 0.0, 0.0, 0.0, "r", True)) == 0.0


def test_what_was_not_measured_says_why(synthetic: ModuleType) -> None:
    row = synthetic.rows("none", layers=1, cases=["a"])[0]
    bare = replace(row, judgements=(), drift=replace(row.drift, nonfinite=17))
    assert row_words(replace(bare, verdict=Verdict.NONFINITE)) == "17 values are not finite where the golden's are"
    assert row_words(replace(bare, verdict=Verdict.MISSING)) == "the candidate shows no such value"
    assert row_words(replace(bare, verdict=Verdict.ERROR, reason="out of memory")) == "out of memory"


def test_every_verdict_has_a_square_that_does_not_need_colour(synthetic: ModuleType) -> None:
    row = synthetic.rows("none", layers=1, cases=["a"])[0]
    marks = {v: square([replace(row, verdict=v, reason="r")]).mark for v in Verdict if v is not Verdict.PASS}
    assert len(set(marks.values())) == len(marks)
    assert all(marks.values())
    assert square([row]).mark == ""
    assert square([replace(row, accepted="known")]).mark == "A"
    assert square([row, replace(row, verdict=Verdict.MISSING, judgements=())]).mark == "M"
