"""What a replay makes of a candidate that is right, wrong, absent, loud, killed or stuck."""

from collections import Counter

import pytest

from paritygate.core.drift import Verdict
from paritygate.core.errors import ExitCode
from paritygate.judge.gate import exit_code

HEAD = "head:out"


def verdicts(rows):
    return {(row.drift.mode, row.drift.address): row.verdict for row in rows}


def test_a_right_candidate_passes_in_every_dtype(replay_toy, judged):
    run = replay_toy(cells="f64,f32,f16,bf16")
    rows = judged(run)
    assert run.info.problems == ()
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert len(rows) == 4 * 2 * 8
    assert exit_code(rows, run.info.problems) is ExitCode.PASS


@pytest.mark.parametrize(
    ("build", "verdict", "detail"),
    [
        ("nan", Verdict.NONFINITE, ""),
        ("transposed", Verdict.MISMATCH, "(2, 256, 9)"),
        ("integers", Verdict.MISMATCH, "int32"),
        ("doubled", Verdict.OVER_BUDGET, ""),
        ("raises", Verdict.ERROR, "ValueError: the head is not ported yet"),
        ("headless", Verdict.MISSING, ""),
    ],
)
def test_a_wrong_head_is_seen_in_both_modes(replay_toy, judged, build, verdict, detail):
    run = replay_toy(f"toy_variants:{build}")
    rows = judged(run)
    found = verdicts(rows)
    assert found["isolated", HEAD] is verdict
    assert found["chained", HEAD] is verdict
    assert any(detail in row.drift.detail for row in rows if row.drift.address == HEAD)
    elsewhere = {value for (mode, name), value in found.items() if name != HEAD and mode == "isolated"}
    assert elsewhere == {Verdict.PASS}
    assert exit_code(rows, run.info.problems) is ExitCode.DRIFT


def test_an_inherited_call_is_seen(replay_toy, judged):
    assert {row.verdict for row in judged(replay_toy("toy_variants:inherits"))} == {Verdict.PASS}


@pytest.mark.parametrize("build", ["one_dtype_fails", "key_error"])
def test_the_candidates_own_exception_is_its_result(replay_toy, judged, build):
    """Neither infrastructure nor a missing value: the other cell is judged, and the run ends with a difference."""
    run = replay_toy(f"toy_variants:{build}", cells="f32,bf16")
    rows = judged(run)
    by_cell = {cell: {r.verdict for r in rows if r.drift.cell == cell} for cell in run.info.cells}
    assert run.info.problems == ()
    assert Verdict.ERROR in by_cell["bf16/single/cpu"]
    assert Verdict.MISSING not in by_cell["bf16/single/cpu"]
    if build == "one_dtype_fails":
        assert by_cell == {"f32/single/cpu": {Verdict.PASS}, "bf16/single/cpu": {Verdict.ERROR}}
    assert exit_code(rows, run.info.problems) is ExitCode.DRIFT


def test_a_candidate_that_computes_wider_than_its_cell_is_a_mismatch(replay_toy, judged):
    rows = judged(replay_toy("toy_variants:secretly_float32", cells="f32,bf16"))
    assert {row.verdict for row in rows if row.drift.cell == "f32/single/cpu"} == {Verdict.PASS}
    assert {row.verdict for row in rows if row.drift.cell == "bf16/single/cpu"} == {Verdict.MISMATCH}


def test_a_candidate_that_ends_the_process_is_infrastructure(replay_toy, judged):
    run = replay_toy("toy_variants:exits")
    assert run.info.problems == ("worker for f64/single/cpu ended with code 0: no output (see 0.log)",)
    assert exit_code(judged(run), run.info.problems) is ExitCode.INFRASTRUCTURE


def test_padding_is_not_compared(replay_toy, judged):
    assert {row.verdict for row in judged(replay_toy("toy_variants:nan_in_padding"))} == {Verdict.PASS}


def test_what_the_candidate_prints_does_not_reach_the_results(replay_toy, judged):
    run = replay_toy("toy_variants:noisy")
    assert run.info.problems == ()
    assert {row.verdict for row in judged(run)} == {Verdict.PASS}
    log = (run.folder / "workers" / "0.log").read_text()
    assert "not a drift" in log
    assert "straight to the descriptor" in log
    assert "a warning of the candidate" in log


def test_a_killed_worker_leaves_missing_rows_and_is_infrastructure(replay_toy, judged):
    run = replay_toy("toy_variants:killed", cells="f32,bf16")
    rows = judged(run)
    by_cell = {cell: Counter(r.verdict for r in rows if r.drift.cell == cell) for cell in run.info.cells}
    assert set(by_cell["f32/single/cpu"]) == {Verdict.PASS}
    assert set(by_cell["bf16/single/cpu"]) == {Verdict.MISSING}
    (problem,) = run.info.problems
    assert "was killed by signal 9" in problem
    assert exit_code(rows, run.info.problems) is ExitCode.INFRASTRUCTURE


def test_a_worker_that_hangs_is_stopped(replay_toy, judged):
    run = replay_toy("toy_variants:hangs", timeout_s=8.0)
    (problem,) = run.info.problems
    assert problem == "worker for f64/single/cpu ran longer than 8 s and was stopped"
    assert exit_code(judged(run), run.info.problems) is ExitCode.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("build", "verdict", "code", "says"),
    [
        ("toy_variants:no_such_weight", Verdict.ERROR, ExitCode.DRIFT, "decoder.weight"),
        ("toy_jax:no_such", Verdict.MISSING, ExitCode.INFRASTRUCTURE, "toy_jax:no_such"),
    ],
)
def test_a_candidate_that_cannot_be_built_says_why(replay_toy, judged, build, verdict, code, says):
    run = replay_toy(build)
    rows = judged(run)
    assert {row.verdict for row in rows} == {verdict}
    assert exit_code(rows, run.info.problems) is code
    assert any(says in text for text in (*run.info.problems, *(row.drift.detail for row in rows)))
