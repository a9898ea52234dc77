"""Whether the candidate gives the same bits when it is called again, and what becomes of its own noise."""

import math

from paritygate.core.drift import Verdict

HEAD = {"isolated head:out", "chained head:out"}


def test_a_candidate_that_repeats_its_bits_has_no_noise(replay_toy):
    info = replay_toy(cells="f64,bf16").info
    assert [(r.cell, r.case, r.values, r.differing) for r in info.repeats] == [
        (cell, "toy-2.plain", 16, ()) for cell in info.cells
    ]
    assert info.reproducible is True
    assert all(drift.noise == {} for drift in replay_toy(cells="bf16").drifts())


def test_noise_enters_the_floor_and_is_seen(replay_toy, judged):
    run = replay_toy("toy_variants:shaken", cells="f32")
    (repeat,) = run.info.repeats
    assert set(repeat.differing) == HEAD
    assert run.info.reproducible is False
    rows = judged(run)
    assert {row.verdict for row in rows} == {Verdict.PASS}
    noisy = {f"{row.drift.mode} {row.drift.address}" for row in rows if row.drift.noise}
    assert noisy == HEAD
    for row in rows:
        for judgement in row.judgements:
            divisor = max(judgement.floor, judgement.minimum)
            own = min(row.drift.noise.get(judgement.metric, 0.0), divisor)
            assert judgement.noise == own
            assert judgement.value == 0.0 or judgement.ratio == judgement.value / math.hypot(divisor, own)
            assert bool(own) == (judgement.metric in row.drift.noise)


def test_noise_excuses_nothing_in_float64(replay_toy, judged):
    """It is 1e-7, and a fixed limit knows no noise."""
    rows = judged(replay_toy("toy_variants:shaken", cells="f64"))
    failing = [row for row in rows if row.verdict is not Verdict.PASS]
    assert {f"{row.drift.mode} {row.drift.address}" for row in failing} == HEAD
    for row in failing:
        assert row.judgements and all(judgement.noise == 0.0 for judgement in row.judgements)
        assert "from itself when called again" in row.evidence


def test_what_is_mostly_noise_does_not_pass_by_its_noise(replay_toy, judged):
    rows = judged(replay_toy("toy_variants:mostly_noise", cells="bf16"))
    heads = [row for row in rows if row.drift.site == "head"]
    assert [row.verdict for row in heads] == [Verdict.OVER_BUDGET] * 2
    assert all(
        judgement.noise <= max(judgement.floor, judgement.minimum) for row in heads for judgement in row.judgements
    )


def test_a_candidate_that_fails_is_repeated_nowhere(replay_toy):
    info = replay_toy("toy_variants:no_such_weight").info
    assert (info.repeats, info.reproducible) == ((), None)
