"""`explain RUN ROW`: which rows are asked for and how, what is kept, what is refused. The workers have a stand-in."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.cli.blaming import AT_MOST, to_blame
from paritygate.cli.explaining import explained_or_why
from paritygate.cli.verb import Settings
from paritygate.core.blame import Blame, BlamedLine
from paritygate.core.drift import Diagnosis
from paritygate.core.errors import ExitCode
from paritygate.core.run import Run
from paritygate.replay import blaming
from paritygate.store.golden import GoldenStore

ROOT = Path(__file__).resolve().parents[3]
VALUE = "layers.0.attn:inner.q"
LINE = BlamedLine("linear.py:62", "Linear.__call__", "rounded to bfloat16", 0.9, 0.001)


@pytest.fixture
def asked(synthetic: ModuleType, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A judged run, the goldens of the repository, and workers that blame one line for all that they are asked."""
    golden = Path(environ["PARITYGATE_GOLDEN"])
    golden.symlink_to(ROOT / "golden")
    hashes = {case: GoldenStore(golden).manifest_hash("tiny", case) for case in synthetic.CASES}
    synthetic.write_run(Path(environ["PARITYGATE_RUNS"]) / "run", goldens=hashes, workers=({"candidate": {"c": "1"}},))
    said: dict[str, Any] = {"problems": (), "candidate": {"c": "1"}}

    def blame_all(rows, plantings, store, folder, **options):
        said["rows"] = rows
        blames = tuple(Blame(*each.key, each.drift, 0.004, 1e-16, (LINE,), raised_to="float32") for each in rows)
        return blaming.Blamed(blames, {}, said["candidate"], said["problems"])

    monkeypatch.setattr(blaming, "blame_all", blame_all)
    return said


def run_of(environ: dict[str, str]) -> Run:
    return Run.open(Path(environ["PARITYGATE_RUNS"]) / "run")


def test_a_value_is_asked_in_every_cell_that_the_name_matches(paritygate: Callable, asked, environ) -> None:
    said = paritygate("explain", "run", f"tiny-scout.long/*/isolated/{VALUE}")
    assert said.code == ExitCode.PASS, said.err
    assert [(str(each.cell), each.what, each.limit) for each in asked["rows"]] == [
        ("f64/single/cpu", "parting", 1e-12),
        *((f"{dtype}/single/cpu", "lines", 0.0) for dtype in ("f32", "f16", "bf16")),
    ]
    assert said.out.count("90%  linear.py:62  Linear.__call__  rounded to bfloat16") == 4
    assert said.out.endswith(f"next    paritygate show run {VALUE}\n")
    assert len(run_of(environ).blames()) == 4
    assert "90%  linear.py:62" in paritygate("show", "run", f"tiny-scout.long/bf16*/isolated/{VALUE}").out
    paritygate("explain", "run", f"tiny-scout.long/bf16*/chained/{VALUE}")
    assert len(run_of(environ).blames()) == 5, "what is there stays"
    paritygate("explain", "run", f"tiny-scout.long/bf16*/chained/{VALUE}")
    assert len(run_of(environ).blames()) == 5, "and is replaced where it is asked again"


def test_what_cannot_be_explained_is_refused_with_what_can(paritygate: Callable, asked, environ) -> None:
    assert paritygate("explain", "run", "layers.0.atn:inner.q").err.startswith("no row matches: layers.0.atn:inner.q\n")
    many = paritygate("explain", "run", "*/isolated/layers.0.*")
    assert many.code == ExitCode.USAGE
    assert f"expected  at most {AT_MOST}\n" in many.err and "try       tiny-" in many.err
    run = run_of(environ)
    rows = list(run.judged())
    gradient = [replace(row, drift=replace(row.drift, mode="gradient")) for row in rows]
    run.save_rows(gradient)
    said = paritygate("explain", "run", VALUE)
    assert (said.code, said.err.splitlines()[0]) == (ExitCode.USAGE, f"a gradient cannot be taken apart: {VALUE}")
    run.save_rows([replace(row, drift=replace(row.drift, metrics={})) for row in rows])
    assert paritygate("explain", "run", VALUE).err.startswith(f"nothing was measured there: {VALUE}\n")


def test_another_candidate_or_golden_or_a_worker_that_fails_is_said(paritygate: Callable, asked, environ) -> None:
    row = f"tiny-scout.long/bf16*/isolated/{VALUE}"
    asked["candidate"] = {"c": "2"}
    assert paritygate("explain", "run", row).err.startswith("candidate has changed since the run: c\n")
    asked["problems"] = ("worker for  was killed by signal 9",)
    said = paritygate("explain", "run", row)
    assert said.code == ExitCode.INFRASTRUCTURE and "signal 9" in said.err
    run = run_of(environ)
    run.save(replace(run.info, goldens=dict.fromkeys(run.info.goldens, "0" * 64)))
    said = paritygate("explain", "run", row)
    assert (said.code, said.err.splitlines()[0]) == (
        ExitCode.GOLDEN, "golden has changed since the run: tiny/tiny-scout.long",
    )  # fmt: skip
    assert run.blames() == []


def test_a_run_asks_for_first_divergences_of_precision_and_a_failure_leaves_it_as_it_is(asked, environ) -> None:
    run = run_of(environ)
    rows = list(run.judged())

    def over(row, address):
        return replace(row, verdict="over_budget", diagnosis=Diagnosis.PRECISION) if (
            row.drift.cell.startswith("bf16") and row.drift.address == address
        ) else row  # fmt: skip

    failing = [over(over(row, VALUE), "norm:out") for row in rows]
    blamed = to_blame(run, failing)
    assert [(row.drift.address, row.drift.mode) for row in blamed] == [(VALUE, "isolated")], "of one value one row"
    settings = Settings(Path(environ["PARITYGATE_GOLDEN"]), run.folder.parent, None, (), (), False, False, 100)
    assert explained_or_why(settings, run, failing, None) == ""
    assert [blame.address for blame in run.blames()] == [VALUE]
    asked["problems"] = ("worker for  was killed by signal 9",)
    assert "signal 9" in explained_or_why(settings, run, failing, None)


def test_as_json(paritygate: Callable, asked) -> None:
    said = json.loads(paritygate("explain", "run", f"tiny-scout.long/bf16*/isolated/{VALUE}", "--json").out)
    assert said["run"] == "run" and said["counterfactuals"] == []
    assert [blame["lines"][0]["line"] for blame in said["blames"]] == ["linear.py:62"]
