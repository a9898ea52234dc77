"""Verbs that read runs: show, report, locate, gate, compare, judge."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.core.errors import ExitCode
from paritygate.core.hypothesis import Counterfactual, Explanation
from paritygate.core.run import Run
from paritygate.judge.gate import exit_code
from paritygate.judge.locate import first_divergence
from paritygate.report.data import Outcome, ReportData


@pytest.fixture(scope="module")
def made(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    synthetic.write_run(folder / "good", "none", started="20260101T000000Z")
    synthetic.write_run(folder / "bad", "all", started="20260102T000000Z")
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """Two runs: `good`, and the later `bad` with a semantic fault and rows of every other verdict."""
    return shutil.copytree(made, tmp_path / "runs")


def test_gate_says_pass(paritygate: Callable, runs: Path) -> None:
    said = paritygate("gate", "good")
    assert said.code == 0
    assert said.out.startswith("PASS  All ")
    assert "96 compilations" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate report good"


def test_gate_says_fail_where_and_what_next(paritygate: Callable, runs: Path) -> None:
    said = paritygate("gate")  # latest is bad
    assert said.code == 1
    assert said.out.startswith("FAIL  ")
    assert "tiny-scout.long f64/single/cpu  layers.1.attn:inner.q_rope  isolated  semantic" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate locate bad"


def test_gate_as_json(paritygate: Callable, runs: Path) -> None:
    said = paritygate("gate", "bad", "--json")
    value = json.loads(said.out)
    assert (said.code, value["exit_code"], value["run"]) == (1, 1, "bad")
    assert value["summary"]["verdicts"]["nonfinite"] == 1
    assert value["first_divergences"][0]["row"]["diagnosis"] == "semantic"


@pytest.mark.parametrize("fault", ["none", "semantic", "all"])
@pytest.mark.parametrize("problems", [(), ("worker 1 died",)])
def test_report_and_gate_agree(synthetic: ModuleType, fault: str, problems: tuple[str, ...]) -> None:
    rows = synthetic.rows(fault)
    data = ReportData(synthetic.info(problems=problems), tuple(rows))
    assert data.outcome is {
        ExitCode.PASS: Outcome.PASS,
        ExitCode.DRIFT: Outcome.FAIL,
        ExitCode.INFRASTRUCTURE: Outcome.INCOMPLETE,
    }.get(exit_code(rows, problems))
    assert {row.drift.key for row in data.first_divergences} == {d.row.drift.key for d in first_divergence(rows)}


def test_locate_names_the_first_divergence(paritygate: Callable, runs: Path) -> None:
    said = paritygate("locate", "bad")
    assert said.code == 1
    assert said.out.startswith("tiny-scout.long f64/single/cpu  layers.1.attn:inner.q_rope  isolated  semantic")
    assert "12 cells of cases differ" in said.out
    assert paritygate("locate", "good").code == 0


def test_a_run_with_a_gap_in_coverage_fails_and_says_where(
    synthetic: ModuleType, paritygate: Callable, runs: Path
) -> None:
    rows = synthetic.rows("none", layers=2)
    Run.open(runs / "good").save_rows(rows, coverage=synthetic.coverage())
    said = paritygate("gate", "good")
    assert said.code == 1
    assert "Not covered: module layers.3.attn, missing: no site" in said.out.replace("\n", " ")
    assert said.out.splitlines()[-1] == "next    paritygate report good --text coverage"
    (gap,) = json.loads(paritygate("gate", "good", "--json").out)["coverage"]["gaps"]
    assert (gap["verdict"], gap["part"], gap["where"]) == ("missing", "module", "layers.3.attn")
    said = paritygate("locate", "good")
    assert said.code == 1
    assert "not covered: missing  module layers.3.attn: no site" in said.out
    assert json.loads(paritygate("locate", "good", "--json").out)["gaps"] == [gap]
    (runs / "good" / "coverage.json").unlink()
    assert paritygate("gate", "good").code == 2


def test_show_a_run_and_a_row(paritygate: Callable, runs: Path) -> None:
    assert "SITES × CELLS" in paritygate("show", "bad").out
    said = paritygate("show", "bad", "tiny-scout.long/f32/single/cpu/isolated/layers.1.attn:inner.q_rope")
    assert said.code == 0
    assert "semantic: the float64 cell differs too" in said.out
    assert "inner.q_rope" in said.out
    assert "over  floats" in said.out
    assert said.out.splitlines()[-2:] == ["1 row", "next    paritygate report bad"]
    many = paritygate("show", "bad", "layers.1.attn:inner.q_rope").out.splitlines()
    assert len([line for line in many if line.startswith("over budget")]) == 24


def test_a_row_is_explained_by_what_was_found_of_its_own_case(paritygate: Callable, runs: Path) -> None:
    value = "layers.1.attn:inner.q_rope"
    found = [
        Counterfactual(case, "f64/single/cpu", "isolated", value, 9, 0, 1, (Explanation(f"of {case}", "turns", 9),))
        for case in ("tiny-scout.long", "tiny-scout.padded")
    ]
    Run.open(runs / "bad").save_counterfactuals(found)
    said = paritygate("show", "bad", f"tiny-scout.long/f32/single/cpu/isolated/{value}").out
    assert "of tiny-scout.long (the candidate turns)" in said
    assert "of tiny-scout.padded" not in said


def test_the_next_command_is_one_that_a_shell_takes(paritygate: Callable, runs: Path) -> None:
    (runs / "good").rename(runs / "a run; of mine")
    assert paritygate("gate", "a run; of mine").out.splitlines()[-1] == "next    paritygate report 'a run; of mine'"
    assert paritygate("report", "a run; of mine").out.splitlines()[-1] == "next    paritygate show 'a run; of mine'"


def test_show_a_row_as_json_is_what_rows_jsonl_says(paritygate: Callable, runs: Path) -> None:
    said = paritygate("show", "bad", "norm:out", "--json")
    rows = json.loads(said.out)["rows"]
    assert len(rows) == 24
    assert rows[0]["verdict"] == "error"  # the worst first


def test_an_unknown_row_has_near_matches(paritygate: Callable, runs: Path) -> None:
    said = paritygate("show", "bad", "layers.1.atn:out")
    assert said.code == 2
    assert said.err.startswith("no row matches: layers.1.atn:out\n")
    assert "did you mean layers.1.attn:out" in said.err


def test_an_unknown_run_has_near_matches(paritygate: Callable, runs: Path) -> None:
    said = paritygate("gate", "goood")
    assert said.code == 2
    assert said.err.splitlines() == [
        "unknown run: goood",
        "  expected  one of bad, good, latest",
        "  try       did you mean good?",
    ]


def test_no_run_yet(paritygate: Callable) -> None:
    said = paritygate("report")
    assert said.code == 2
    assert said.err.startswith("there is no run yet: ")
    assert said.err.endswith("  try       paritygate run tiny\n")


def test_a_run_by_path(paritygate: Callable, runs: Path) -> None:
    assert paritygate("gate", str(runs / "good")).code == 0


def test_a_run_that_is_not_judged(paritygate: Callable, synthetic: ModuleType, tmp_path: Path) -> None:
    synthetic.write_run(tmp_path / "runs" / "raw", judged="no")
    said = paritygate("gate", "raw")
    assert (said.code, said.err) == (2, "run is not judged: raw\n  try       paritygate judge raw\n")


def test_report_writes_the_page_and_prints_sections(paritygate: Callable, runs: Path) -> None:
    said = paritygate("report", "bad")
    assert said.code == 0
    page = (runs / "bad" / "report.html").read_text()
    assert "layers.1.attn" in page
    assert said.out.splitlines()[0].endswith("report.html")
    assert paritygate("report", "bad", "--text", "divergence").out.startswith("FIRST DIVERGENCE\n")
    assert paritygate("report", "bad", "--text", "nothing").code == 2
    assert json.loads(paritygate("report", "bad", "--json").out)["report"] == str(runs / "bad" / "report.html")
    assert "heatmap" in json.loads(paritygate("report", "bad", "--text", "all", "--json").out)


def test_compare_shows_what_got_worse(paritygate: Callable, runs: Path, synthetic: ModuleType) -> None:
    said = paritygate("compare", "good", "bad")
    assert said.code == 1
    assert said.out.startswith("broken  ")
    assert "changed rows: " in said.out.splitlines()[-2]
    assert paritygate("compare", "bad", "good").code in (0, 1)
    same = paritygate("compare", "good", "good")
    assert (same.code, same.out.splitlines()[0]) == (0, f"0 changed rows: {len(synthetic.rows(layers=2)):,} equal")


@pytest.mark.parametrize("verb", ["gate", "show", "report", "locate", "compare"])
def test_no_verb_reads_rows_that_are_not_all_there(paritygate: Callable, runs: Path, verb: str) -> None:
    path = runs / "good" / "rows.jsonl"
    path.write_text(path.read_text()[:-100])
    said = paritygate(verb, "good", *(["good"] if verb == "compare" else []))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("rows.jsonl is not what the judge wrote: ")
    assert said.err.endswith("  try       paritygate judge good\n")


def test_gate_as_json_says_what_a_pass_does_not_cover(paritygate: Callable, synthetic: ModuleType, runs: Path) -> None:
    assert json.loads(paritygate("gate", "good", "--json").out)["not_covered"] == []
    rows = [row for row in synthetic.rows("none") if row.drift.mode == "isolated"]
    Run.open(runs / "good").save_rows(rows)
    said = json.loads(paritygate("gate", "good", "--json").out)
    assert said["not_covered"] == ["Not chained: the glue between modules is not covered, and no program was linted."]


def test_judge_refuses_a_golden_that_has_changed(paritygate: Callable, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "golden" / "tiny").mkdir(parents=True)
    (tmp_path / "golden" / "tiny" / "tiny-scout.long.json").write_text("{}")
    said = paritygate("judge", "good")
    assert said.code == 3
    assert said.err.splitlines() == [
        "golden has changed since the run: tiny/tiny-scout.long",
        "  expected  111111111111",
        "  got       44136fa355b3",
        "  try       paritygate run tiny",
    ]


def test_judge_without_its_golden(paritygate: Callable, runs: Path) -> None:
    said = paritygate("judge", "good")
    assert said.code == 3
    assert said.err.startswith("no golden: tiny/tiny-scout.long\n")


def test_latest_is_the_run_that_started_last(paritygate: Callable, runs: Path) -> None:
    os.utime(runs / "good" / "run.json")
    assert json.loads(paritygate("show", "--json").out)["run"]["id"] == "bad"
    assert Run.open(runs / "bad").info.started > Run.open(runs / "good").info.started
