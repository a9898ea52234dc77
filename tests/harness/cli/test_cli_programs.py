"""The verb `programs` on a run of several devices: it says what is not recorded, records it, and is the gate's."""

import json
from dataclasses import replace
from pathlib import Path

from paritygate.core.codec import canonical, from_json
from paritygate.core.drift import Row
from paritygate.core.program import Program
from paritygate.core.run import Run, RunInfo
from paritygate.store.programs import read_programs, write_programs


def a_run(synthetic, folder: Path, gathers: int, modes: tuple[str, ...] = ()) -> Path:
    """A judged run whose one program gathers so many times; in all modes where none is given."""
    (compiled,), changed = synthetic.programs()
    cells = (*synthetic.info().cells, compiled.cell)
    info = from_json(RunInfo, json.loads(canonical(synthetic.info())) | {"cells": list(cells)})
    info = replace(info, modes=modes or info.modes)
    (folder / "programs.jsonl").parent.mkdir(parents=True)
    data = json.loads(canonical(compiled))
    data["collectives"][0]["count"] = gathers
    (folder / "programs.jsonl").write_text(canonical(data) + "\n")
    rows: list[Row] = list(synthetic.rows("none"))
    Run(folder, info).save(info).save_rows(rows, programs=changed)
    return folder


def test_programs_are_recorded_and_a_further_gather_is_said(paritygate, synthetic, tmp_path):
    first = a_run(synthetic, tmp_path / "runs" / "first", 1)
    bare = paritygate("programs", str(first))
    assert (bare.code, "nothing was recorded" in bare.out) == (0, True)
    recorded = paritygate("programs", str(first), "--accept")
    assert recorded.code == 0, recorded.err
    assert "bf16.fsdp2tp4.cpu.jsonl" in recorded.out
    assert "0 changes" in paritygate("programs", str(first)).out
    second = paritygate("programs", str(a_run(synthetic, tmp_path / "runs" / "second", 2)))
    assert second.code == 1
    assert "one more all-gather of [64, 32] bf16 over tp, 4 KiB per turn of a loop of 3, at moe.py:31" in second.out


def test_a_mode_that_was_not_run_is_no_change(paritygate, synthetic, tmp_path):
    first = a_run(synthetic, tmp_path / "runs" / "first", 1)
    assert paritygate("programs", str(first), "--accept").code == 0
    for modes, code in ((("chained",), 1), (("gradient",), 0), (("isolated",), 0)):
        folder = a_run(synthetic, tmp_path / "runs" / modes[0], 1, modes)
        (folder / "programs.jsonl").write_text("")
        said = paritygate("programs", str(folder))
        assert (said.code, "was recorded, and is not there" in said.out) == (code, code == 1)


def test_some_cells_are_recorded_and_not_others(paritygate, synthetic, tmp_path):
    first = str(a_run(synthetic, tmp_path / "runs" / "first", 1))
    refused = paritygate("programs", first, "--accept", "--select", "f32/*")
    assert refused.code == 2
    assert "no cell matches: --select f32/*\n  expected  a glob over bf16/fsdp2tp4/cpu" in refused.err
    assert "bf16.fsdp2tp4.cpu.jsonl" in paritygate("programs", first, "--accept", "--select", "bf16/*").out


def test_a_site_that_is_gone_leaves_no_record(tmp_path):
    def program(*names: str) -> list[Program]:
        return [Program(name, "bf16/tp2/cpu") for name in names]

    def recorded() -> list[str]:
        return [each.name for each in read_programs(tmp_path, "s")]

    write_programs(tmp_path, "s", program("a.b layers.0", "a.b norm", "a.b forward 1", "c.d norm"))
    write_programs(tmp_path, "s", program("a.b norm"))
    assert recorded() == ["a.b forward 1", "a.b norm", "c.d norm"]


def test_a_run_without_programs_has_nothing_to_record(paritygate, synthetic, tmp_path):
    folder = a_run(synthetic, tmp_path / "runs" / "first", 1)
    (folder / "programs.jsonl").unlink()
    refused = paritygate("programs", str(folder), "--accept")
    assert refused.code == 2
    assert "run has no programs to record" in refused.err


def test_a_failing_change_fails_the_gate(synthetic, tmp_path):
    from paritygate.cli.stages import gate_run
    from paritygate.core.errors import ExitCode

    run = Run.open(a_run(synthetic, tmp_path / "runs" / "first", 1))
    rows = list(run.judged())
    assert gate_run(run, rows) is ExitCode.DRIFT
    run.save_rows(rows)
    assert gate_run(run, rows) is ExitCode.PASS
