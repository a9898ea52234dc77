"""A row for each pass that was compiled, and what of it fails the gate."""

from dataclasses import replace

import pytest

from paritygate.catalog.full import order_of
from paritygate.core.cell import Cell
from paritygate.core.compilation import Compilation, Compiled
from paritygate.core.drift import Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.program import Collective, Program
from paritygate.core.run import Skip
from paritygate.judge.compilations import changes_of, rows_of
from paritygate.judge.gate import exit_code

CELL = "bf16/fsdp4tp2/cpu:8 (compiled)"
ORDER = order_of("rehearsal.prefill-4x32", Cell.parse(CELL))
GATHER = Collective("all-gather", "tp", "bf16", (64, 32), 4096, "moe:bmm", "moe.py:31", weight="weights['up']")
PROGRAM = Program(ORDER.name, CELL, (GATHER,), memory_bytes={"arguments": 1 << 30})
FITS = Compilation(ORDER, CELL, "fits", 1.0, compiled=Compiled((), PROGRAM), needed_bytes=1 << 32)


def judged(found: Compilation, *recorded: Program):
    """The row of a compilation, its changes, and what a run of it alone ends with."""
    changes = changes_of([found], recorded)
    (row,) = rows_of([found], changes, ())
    problems = [found.reason] if found.outcome == "lost" else []
    return row, changes, exit_code([row], problems, changes.failing)


@pytest.mark.parametrize("recorded", [(PROGRAM,), ()])
def test_what_fits_and_is_as_recorded_passes(recorded):
    row, changes, code = judged(FITS, *recorded)
    assert (row.verdict, changes.failing, code) == (Verdict.PASS, (), ExitCode.PASS)
    assert (row.drift.case, row.drift.cell, row.drift.address) == (ORDER.name, CELL, "prefill-4x32:program")
    assert row.worst_judgement is not None and row.worst_judgement.share == 0.25  # 4 of 16 GiB
    assert [change.what for change in changes.changes] == ([] if recorded else ["nothing was recorded"])


def test_a_further_gather_is_a_mismatch_that_names_its_line():
    row, changes, code = judged(FITS, replace(PROGRAM, collectives=()))
    assert (row.verdict, code) == (Verdict.MISMATCH, ExitCode.DRIFT)
    assert row.reason == ("one more all-gather of weights['up'] [64, 32] bf16 over tp, 4 KiB, at moe.py:31 (moe:bmm)")
    assert len(changes.failing) == 1


def test_more_changes_than_a_row_can_say_are_counted():
    others = tuple(replace(GATHER, dims=(64, width)) for width in range(5))
    row, _, _ = judged(FITS, replace(PROGRAM, collectives=others))
    assert row.reason.endswith("; and 3 more")


@pytest.mark.parametrize("recorded", [(PROGRAM,), ()])
def test_what_does_not_fit_is_over_budget(recorded):
    row, _, code = judged(replace(FITS, outcome="too large", needed_bytes=1 << 35), *recorded)
    assert (row.verdict, code, row.reason) == (
        Verdict.OVER_BUDGET, ExitCode.DRIFT, "needs 34.36 of 17.18 GB a device",
    )  # fmt: skip


def test_what_the_compiler_finds_too_large_is_said_in_its_words():
    refused = Compilation(ORDER, CELL, "too large", 1.0, reason="RESOURCE_EXHAUSTED: no room", needed_bytes=1 << 35)
    row, changes, code = judged(refused, PROGRAM)
    assert (row.verdict, row.reason, code) == (
        Verdict.OVER_BUDGET, "RESOURCE_EXHAUSTED: no room", ExitCode.DRIFT,
    )  # fmt: skip
    assert [change.what for change in changes.failing] == [
        "was recorded, and is not there: too large, RESOURCE_EXHAUSTED: no room"
    ]


@pytest.mark.parametrize("recorded", [(PROGRAM,), ()])
def test_what_does_not_compile_any_more_fails(recorded):
    row, changes, code = judged(Compilation(ORDER, CELL, "failed", 1.0, reason="no such product"), *recorded)
    assert (row.verdict, row.reason) == (Verdict.ERROR, "does not compile: no such product")
    assert (len(changes.failing), code) == (len(recorded), ExitCode.DRIFT)


def test_a_lost_worker_says_nothing_of_the_program():
    row, changes, code = judged(Compilation(ORDER, CELL, "lost", 0.0, reason="worker was killed"), PROGRAM)
    assert (row.verdict, changes.changes, code) == (Verdict.MISSING, (), ExitCode.INFRASTRUCTURE)


def test_what_was_skipped_is_a_row_with_its_reason():
    rows = rows_of([FITS], changes_of([FITS], [PROGRAM]), [Skip(CELL, "no compiler here", "scout.train-16x2048")])
    assert [(row.verdict, row.reason) for row in rows] == [
        (Verdict.PASS, ""), (Verdict.SKIPPED, "no compiler here"),
    ]  # fmt: skip
    assert exit_code(rows, ()) is ExitCode.PASS
    assert exit_code(rows[1:], ()) is ExitCode.NOTHING_COMPARED


def test_a_pass_is_held_to_its_own_record_only():
    """Another pass of the cell that is recorded, and was not asked for, is no change."""
    other = replace(PROGRAM, name="rehearsal.train-4x32", collectives=())
    _, changes, _ = judged(FITS, PROGRAM, other)
    assert changes.changes == ()
