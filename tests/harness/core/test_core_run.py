"""A run folder: files that are old or new but never a part, lines that a kill cut off, rows as a table, formats."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from paritygate.core.codec import canonical
from paritygate.core.coverage import Coverage, Gap, Inspection, PartKind
from paritygate.core.drift import Diagnosis, Drift, Element, Judgement, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.golden import TensorRef
from paritygate.core.run import RUN_FORMAT, Run, RunInfo, write_atomic

INFO = RunInfo(
    id="r1",
    suite="toy",
    cases=("toy-2.plain",),
    cells=("f64/single/cpu",),
    modes=("isolated",),
    started="20260101T000000Z",
    command=("paritygate", "run"),
    goldens={"toy-2.plain": "0" * 64},
    versions={"jax": "0.10"},
    workers=({"cells": ["f64/single/cpu"], "wall_s": 1.5, "environment": {"JAX_PLATFORMS": "cpu"}},),
)


def drift(port: str, **values: object) -> Drift:
    fields = {"case": "toy-2.plain", "cell": "bf16/single/cpu", "mode": "chained", "site": "head", "call": 0}
    fields |= {"order": 3, "kind": "float", "layout": "B T V", "shape": (2, 9, 256), "dtype": "bfloat16"}
    return Drift(port=port, **(fields | values))  # type: ignore[arg-type]


ROWS = [
    Row(drift("in.x", problem="mismatch"), Verdict.MISMATCH, reason="shape (2, 3)"),
    Row(
        drift("out", metrics={"rel_l2": 0.25, "kl": 0.5}, worst=(Element((0, 1, 2), 1.0, 1.5),)),
        Verdict.OVER_BUDGET,
        Diagnosis.PROPAGATED,
        (Judgement("rel_l2", 0.25, 0.05, 0.0, 5.0, 2.0, "low", False),),
        origin="embed:out",
        reason="too much",
    ),
    Row(drift("out.choice", kind="index", metrics={"agreement": 1.0}), Verdict.PASS, accepted="known"),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "r1", INFO).save(INFO)


def test_a_run_is_read_as_it_was_saved(run: Run) -> None:
    assert Run.open(run.folder).info == INFO
    judged = run.save_rows(ROWS)
    assert list(judged.judged()) == list(Run.open(run.folder).judged()) == ROWS
    assert judged.info == Run.open(run.folder).info == replace(INFO, rows=len(ROWS))


def test_coverage_is_written_and_read_with_the_rows(run: Run) -> None:
    with pytest.raises(UsageError, match="run is not judged"):
        run.coverage()
    gap = Gap(Verdict.MISSING, PartKind.GLUE, "model", "seen in head:out, which is no value", ("a.b",))
    coverage = Coverage({"glue": 1}, (gap,))
    assert run.save_rows(ROWS, coverage=coverage).coverage() == coverage
    (run.folder / "coverage.json").write_text("{")
    with pytest.raises(UsageError, match=r"coverage\.json cannot be read"):
        run.coverage()


def test_inspections_are_read_line_by_line(run: Run) -> None:
    assert list(run.inspections()) == []
    inspection = Inspection("a.b", "f64/single/cpu", ("", "head"), {"head.weight": TensorRef("0", "bfloat16", (2, 3))})
    (run.folder / "inspections.jsonl").write_text(canonical(inspection) + "\n" + '{"case": "cut o')
    assert list(run.inspections()) == [inspection]


def test_rows_as_a_table(run: Run) -> None:
    table = run.save_rows(ROWS).rows()
    assert list(table.columns) == [
        *"case cell mode site port call order kind layout shape dtype nonfinite".split(),
        *"verdict diagnosis origin reason accepted".split(),
        *"agreement kl rel_l2 rel_l2_limit rel_l2_x".split(),
    ]
    assert list(table["port"]) == ["in.x", "out", "out.choice"]
    assert list(table["verdict"]) == ["mismatch", "over_budget", "pass"]
    over = table.loc[1]
    assert (over["rel_l2"], over["rel_l2_x"], over["rel_l2_limit"], over["kl"]) == (0.25, 5.0, 2.0, 0.5)
    assert (over["diagnosis"], over["origin"], over["shape"]) == ("propagated", "embed:out", (2, 9, 256))
    assert pandas.isna(table.loc[0, "rel_l2"]) and pandas.isna(over["agreement"])
    assert table.loc[2, "accepted"] == "known"


def test_a_table_without_rows_has_its_columns(run: Run) -> None:
    table = run.save_rows([]).rows()
    assert table.empty and {"case", "cell", "verdict", "accepted"} <= set(table.columns)


def test_a_last_line_that_a_kill_cut_off_is_left_out(run: Run) -> None:
    whole, cut = canonical(drift("out")), canonical(drift("in.x"))
    path = run.folder / "drifts.jsonl"
    for text in (cut[:20], cut):  # a line is whole when its newline is there
        path.write_text(f"{whole}\n{text}")
        assert list(run.drifts()) == [drift("out")]
    path.unlink()
    assert list(run.drifts()) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{not json}", r"line cannot be read: .*drifts\.jsonl:2\n  got       Expecting property name"),
        ('{"case": 1}', r"missing key: drifts\.jsonl:2\.|value does not fit: drifts\.jsonl:2\.case"),
        ("[]", r"value does not fit: drifts\.jsonl:2\n  expected  an object"),
        ("\udcff", r"line cannot be read: .*drifts\.jsonl:2\n  got       'utf-8' codec can't decode byte 0xff"),
    ],
    ids=["no JSON", "a key gone", "no object", "no UTF-8"],
)
def test_a_line_that_is_none_is_named(run: Run, line: str, text: str) -> None:
    content = f"{canonical(drift('out'))}\n{line}\n"
    (run.folder / "drifts.jsonl").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=f"^(?:{text})"):
        list(run.drifts())


def test_a_run_that_is_not_judged_says_what_to_type(run: Run) -> None:
    for read in (lambda: list(run.judged()), run.rows):
        with pytest.raises(UsageError, match=r"^run is not judged: r1\n  try       paritygate judge r1$"):
            read()


@pytest.mark.parametrize("lost", ["newline", "line", "half a line", "everything", "nothing, and a line more"])
def test_rows_that_are_not_all_there_are_refused(run: Run, lost: str) -> None:
    run = run.save_rows(ROWS)
    path = run.folder / "rows.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        {
            "newline": "".join(lines)[:-1],
            "line": "".join(lines[:-1]),
            "half a line": "".join(lines)[:-40],
            "everything": "",
            "nothing, and a line more": "".join([*lines, lines[0]]),
        }[lost]
    )
    got = {"everything": 0, "nothing, and a line more": 4}.get(lost, 2)
    text = (
        rf"^rows\.jsonl is not what the judge wrote: .*r1\n  expected  3 whole rows, as run\.json says\n"
        rf"  got       {got} whole rows\n  try       paritygate judge r1$"
    )
    for read in (lambda: list(run.judged()), run.rows):
        with pytest.raises(UsageError, match=text):
            read()


def test_what_a_run_was_judged_by_is_in_run_json(run: Run) -> None:
    run.save_rows(ROWS, budgets="b" * 64, baseline="c" * 64)
    info = json.loads((run.folder / "run.json").read_text())
    assert (info["rows"], info["budgets"], info["baseline"]) == (3, "b" * 64, "c" * 64)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"^no such run: .*r1\n  try       paritygate run tiny$"),
        ("{", r"^run\.json cannot be read: .*r1\n  got       "),
        ("[]", rf"^run of another format: .*r1\n  expected  {RUN_FORMAT}\n  got       None$"),
        ("{}", rf"^run of another format: .*r1\n  expected  {RUN_FORMAT}\n  got       None$"),
        ('{"format": 999}', rf"^run of another format: .*r1\n  expected  {RUN_FORMAT}\n  got       999$"),
        (f'{{"format": {RUN_FORMAT}}}', r"^missing key: RunInfo\.id$"),
        (f'{{"format": {RUN_FORMAT}, "more": 1}}', r"^unknown keys: RunInfo\n  expected  .*\n  got       more$"),
    ],
)
def test_what_is_no_run_of_this_format_is_refused(tmp_path: Path, content: str | None, text: str) -> None:
    folder = tmp_path / "r1"
    folder.mkdir()
    if content is not None:
        (folder / "run.json").write_text(content)
    with pytest.raises(UsageError, match=text):
        Run.open(folder)


def test_run_json_is_laid_out_for_reading(run: Run) -> None:
    text = (run.folder / "run.json").read_text()
    assert text.endswith("\n") and text.count("\n") > 20
    assert json.loads(text)["format"] == RUN_FORMAT


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    for content in (b"old", b"", b"new"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, step, fail)
        with pytest.raises(OSError, match="no space left") as caught:
            write_atomic(path, b"new")
    assert caught.value.filename == str(path), "the system names no file where a disk is full"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *a, _step=step, _real=real: (steps.append(_step), _real(*a)))
    write_atomic(tmp_path / "file", b"new")
    assert steps == ["fsync", "replace", "fsync"], "the file, its name, the folder that holds the name"


WRITER = """
import sys
from pathlib import Path
from paritygate.core.run import write_atomic
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_atomic(path, bytes([letter]) * 3_000_000)
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.013, 0.037])
def test_a_kill_at_any_moment_leaves_old_or_new(tmp_path: Path, wait_s: float) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"a" * 3_000_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(30):
            assert set(path.read_bytes()) in ({ord("a")}, {ord("b")})
        time.sleep(wait_s)
        writer.send_signal(signal.SIGKILL)
    content = path.read_bytes()
    assert len(content) == 3_000_000
    assert len(set(content)) == 1
