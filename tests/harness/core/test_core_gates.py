"""The absolute budget and the ratchet, each by itself."""

import pytest

from paritygate.core.drift import Drift, Judgement, Row, Verdict
from paritygate.core.gates import gates


def row(
    verdict: Verdict, share: float | None = None, *, accepted: str = "", baseline: str = "", reason: str = ""
) -> Row:
    drift = Drift("a.b", "f32/single/cpu", "chained", "head", "out", 0, 0, "float", "B T D", (1, 1, 1), "float32")
    judged = (Judgement("rel_l2", share, 1.0, 0.0, share, 1.0, "low", share <= 1.0),) if share is not None else ()
    return Row(drift, verdict, judgements=judged, accepted=accepted, baseline=baseline, reason=reason)


WITHIN = row(Verdict.PASS, 0.5)
HELD = row(Verdict.PASS, 1.5, accepted="r", baseline="run-1")
OVER = row(Verdict.OVER_BUDGET, 1.5)


@pytest.mark.parametrize(
    ("rows", "budget", "ratchet"),
    [
        ([], "fail: 0 of 0 within", "pass: no row of this run was accepted before"),
        ([WITHIN] * 3, "pass: 3 of 3 within", "pass: no row of this run was accepted before"),
        ([WITHIN, OVER], "fail: 1 of 2 within, 1 over", "pass: no row of this run was accepted before"),
        ([WITHIN, HELD], "pass: 1 of 2 within, 1 over and accepted", "pass: none of 1 accepted row regressed"),
        (
            [WITHIN, HELD, row(Verdict.REGRESSED, 0.9, baseline="run-1")],
            "pass: 2 of 3 within, 1 over and accepted",  # worse than it was, and within its budget all the same
            "fail: 1 of 2 accepted rows regressed",
        ),
        (
            [WITHIN, row(Verdict.REGRESSED, 3.0, baseline="run-1")],
            "fail: 1 of 2 within, 1 over",
            "fail: 1 of 1 accepted row regressed",
        ),
        (
            [WITHIN, row(Verdict.NONFINITE, baseline="run-1"), row(Verdict.MISSING, baseline="run-1")],
            "fail: 1 of 3 within, 1 over, 1 not compared",
            "fail: 0 of 2 accepted rows regressed, 2 have no number any more",
        ),
        (
            [WITHIN, row(Verdict.SKIPPED, reason="no GPU here")],
            "pass: 1 of 2 within, 1 skipped",
            "pass: no row of this run was accepted before",
        ),
        (
            [WITHIN, row(Verdict.SKIPPED), row(Verdict.ERROR)],
            "fail: 1 of 3 within, 2 not compared",
            "pass: no row of this run was accepted before",
        ),
        (
            [row(Verdict.SKIPPED, reason="no GPU here")],
            "fail: 0 of 1 within, 1 skipped",
            "pass: no row of this run was accepted before",
        ),
    ],
)
def test_each_gate_says_what_it_is_about(rows: list[Row], budget: str, ratchet: str) -> None:
    found = gates(rows)
    assert (found.budget.words, found.ratchet.words) == (budget, ratchet)
    assert (found.budget.ok, found.ratchet.ok) == (budget.startswith("pass"), ratchet.startswith("pass"))
    assert found.words == f"budget  {budget} · ratchet  {ratchet}"
