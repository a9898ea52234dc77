"""Alarms of a seed, and how near its rows came to each limit."""

from dataclasses import replace

import pytest
from judge_rows import BF16, CASE, F32, golden, row

from paritygate.core.drift import Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.golden import Golden
from paritygate.core.seed import Seed, Share, nearest
from paritygate.judge.seeds import judge_seed


def manifest(refused: int) -> Golden:
    return replace(golden(), provenance={"prompt_seed": refused})


def judged(*rows, number: int = 3, refused: int = 0, problems: tuple[str, ...] = ()) -> Seed:
    return judge_seed(number, rows, {CASE: manifest(refused)}, ("toy.tied",), problems, "runs/x")


def test_passes_are_no_alarms_and_the_nearest_of_each_cell_and_mode_is_kept() -> None:
    seed = judged(
        row("a:out", Verdict.PASS, cell=BF16, share=0.25),
        row("b:out", Verdict.PASS, cell=BF16, share=0.75),
        row("c:out", Verdict.PASS, cell=BF16, share=0.5, mode="chained"),
        row("d:out", Verdict.PASS, cell=F32, share=0.125),
    )
    assert (seed.alarms, seed.code, seed.rows, seed.refused) == ((), ExitCode.PASS, 4, {})
    found = [(s.cell, s.mode, s.address, s.values, s.share, s.seed) for s in seed.shares]
    assert found == [
        (BF16, "isolated", "b:out", 2, 0.75, 3),
        (BF16, "chained", "c:out", 1, 0.5, 3),
        (F32, "isolated", "d:out", 1, 0.125, 3),
    ]


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict not in (Verdict.PASS, Verdict.SKIPPED)])
def test_whatever_is_no_pass_is_an_alarm(verdict: Verdict) -> None:
    seed = judged(row("a:out", Verdict.PASS), row("b:out", verdict, reason="stated"))
    assert [alarm.drift.site for alarm in seed.alarms] == ["b"]
    assert seed.code is ExitCode.DRIFT


def test_what_a_flip_leaves_nothing_to_compare_of_is_skipped_and_no_alarm() -> None:
    seed = judged(row("a:out", Verdict.PASS), row("b:out", Verdict.SKIPPED, reason="all tokens are behind a flip"))
    assert (seed.alarms, [skipped.drift.site for skipped in seed.skipped]) == ((), ["b"])
    assert seed.code is ExitCode.PASS


def test_a_skip_without_a_reason_is_an_alarm() -> None:
    seed = judged(row("a:out", Verdict.PASS), row("b:out", Verdict.SKIPPED))
    assert (len(seed.alarms), seed.skipped, seed.code) == (1, (), ExitCode.DRIFT)


def test_a_dead_worker_is_no_alarm_of_the_gate() -> None:
    seed = judged(row("a:out", Verdict.PASS), row("b:out", Verdict.MISSING), problems=("worker died",))
    assert (seed.code, seed.problems) == (ExitCode.INFRASTRUCTURE, ("worker died",))


def test_prompts_that_capture_refused_are_counted() -> None:
    seed = judged(row(verdict=Verdict.PASS), refused=7)
    assert (seed.refused, seed.unclear) == ({CASE: 7}, ("toy.tied",))


def test_the_nearest_over_seeds_counts_the_values_of_all() -> None:
    def share(seed: int, ratio: float, limit: float = 2.0) -> Share:
        return Share("low", BF16, "isolated", 10, seed, CASE, "a:out", "rel_l2", ratio, limit)

    (found,) = nearest([share(1, 0.5), share(2, 1.5), share(3, 1.0)])
    assert (found.seed, found.values, found.share) == (2, 30, 0.75)
    choice = replace(share(4, 0.0, limit=0.0), rule="choice")
    assert [s.rule for s in nearest([choice, share(1, 0.5)])] == ["low", "choice"], "a limit of nought is no division"
