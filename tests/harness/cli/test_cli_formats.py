"""`--output-format`, `--against`, and the two gates, as the command line shows them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from paritygate.cli.sources import Sources
from paritygate.core.codec import canonical
from paritygate.core.coverage import Inspection
from paritygate.core.drift import Row, Verdict
from paritygate.core.run import Run
from paritygate.report.github import Spot
from paritygate.report.markdown import SUMMARY_BYTES


@pytest.fixture(scope="module")
def made(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    synthetic.write_run(folder / "good", "none", started="20260101T000000Z")
    synthetic.write_run(folder / "bad", "all", started="20260102T000000Z")
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "runs")


def test_json_is_short_for_its_format_and_contradicts_every_other(paritygate: Callable, runs: Path) -> None:
    said = paritygate("gate", "bad", "--json")
    assert said.out == paritygate("gate", "bad", "--output-format", "json").out
    assert said.out == paritygate("gate", "bad", "--json", "--output-format", "json").out
    refused = paritygate("gate", "bad", "--json", "--output-format", "markdown")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "two formats: --json --output-format markdown\n  expected  one of them\n"
    refused = paritygate("run", "tiny", "--json", "--output-format", "text")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "two formats: --json --output-format text")


def test_both_gates_are_shown_apart(paritygate: Callable, runs: Path) -> None:
    text = paritygate("gate", "bad").out
    assert "\nbudget   fail: 891 of 1,120 within, 226 over, 2 not compared, 1 skipped\n" in text
    assert "\nratchet  fail: 1 of 1 accepted row regressed\n" in text
    gates = json.loads(paritygate("gate", "bad", "--json").out)["gates"]
    assert gates["budget"] | {"words": ""} == {
        "ok": False, "words": "", "rows": 1120, "within": 891, "over": 226, "accepted": 0, "open": 2, "skipped": 1,
    }  # fmt: skip
    assert (gates["ratchet"]["ok"], gates["ratchet"]["regressed"]) == (False, 1)
    good = paritygate("gate", "good").out
    assert "\nbudget   pass: 1,120 of 1,120 within\nratchet  pass: no row of this run was accepted before\n" in good
    page = paritygate("report", "bad", "--text", "verdict").out
    assert "ratchet  fail: 1 of 1 accepted row regressed" in page


def test_a_run_is_compared_with_another(paritygate: Callable, runs: Path) -> None:
    text = paritygate("gate", "bad", "--against", "good").out
    assert "\nagainst run good: 229 broken, 1 gone, 890 equal\n" in text
    compared = json.loads(paritygate("gate", "bad", "--against", "good", "--json").out)["compared"]
    assert compared["counts"] == {"broken": 229, "gone": 1, "equal": 890}
    assert (compared["against"], len(compared["changes"])) == ("run good", 230)
    section = paritygate("report", "bad", "--against", "good", "--text", "baseline").out
    assert section.startswith("COMPARED WITH BEFORE\nAgainst run good: 1,120 rows compared.")
    assert "passed there, does not here" in section
    assert paritygate("gate", "bad", "--against", "nowhere").code == 2


def test_equal_bits_are_told_from_equal_numbers(paritygate: Callable, synthetic: ModuleType, runs: Path) -> None:
    rows = [replace(row, drift=replace(row.drift, digest="5a17")) for row in synthetic.rows("none", layers=2)]
    for name in ("good", "bad"):
        Run.open(runs / name).save_rows(rows)
        rows = [rows[0], *(replace(row, drift=replace(row.drift, digest="0dd")) for row in rows[1:3]), *rows[3:]]
    counts = json.loads(paritygate("compare", "good", "bad", "--json").out)["counts"]
    assert counts == {"equal": 2, "bit-identical": 1118}


def test_without_another_run_it_is_compared_with_what_was_accepted(
    paritygate: Callable, runs: Path, synthetic: ModuleType
) -> None:
    assert "against" not in paritygate("gate", "bad").out
    select = "*/bf16/single/cpu/chained/layers.1.attn:*"
    accept = ("approve", "bad", "--select", select, "--reason", "r", "--yes", "--by", "Ada", "--semantic")
    assert paritygate(*accept).code == 0
    assert "\nagainst the accepted baseline: 12 broken, 9 equal\n" in paritygate("gate", "bad").out  # not judged since
    held = [
        replace(row, verdict=Verdict.PASS, accepted="r", baseline="bad") if is_accepted(row) else row
        for row in synthetic.rows("all", layers=2)
    ]
    Run.open(runs / "bad").save_rows(held)
    said = " ".join(paritygate("gate", "bad").out.split())  # lines are as long as the terminal is wide
    assert " against the accepted baseline: 21 equal " in said
    assert " budget fail: 891 of 1,120 within, 214 over, 12 over and accepted, 2 not compared, 1 skipped " in said
    assert " ratchet fail: 1 of 13 accepted rows regressed " in said


def is_accepted(row: Row) -> bool:
    drift = row.drift
    place = (drift.cell, drift.mode, drift.site)
    return place == ("bf16/single/cpu", "chained", "layers.1.attn") and row.verdict is Verdict.OVER_BUDGET


def test_junit_and_markdown_are_whole_documents(paritygate: Callable, runs: Path) -> None:
    root = ElementTree.fromstring(paritygate("gate", "bad", "--output-format", "junit").out.encode())
    assert root.tag == "testsuites" and int(root.attrib["failures"]) > 0
    text = paritygate("gate", "bad", "--output-format", "markdown", "--against", "good").out
    assert text.startswith("## FAIL: ") and "**Next** <code>paritygate locate bad</code>" in text


def test_the_summary_of_a_step_is_added_and_never_too_large(paritygate: Callable, runs: Path, tmp_path: Path) -> None:
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    summary.write_text("before\n")
    environ = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
    assert paritygate("gate", "bad", "--output-format", "github", **environ).code == 1
    assert summary.read_text().startswith("before\n## FAIL: ")
    assert "verdict<<" in outputs.read_text()
    summary.write_text("x" * (SUMMARY_BYTES - 3000))
    paritygate("gate", "bad", "--output-format", "github", **environ)
    assert SUMMARY_BYTES - 3000 < summary.stat().st_size <= SUMMARY_BYTES
    assert "Left out for want of room: Provenance" in summary.read_text()
    summary.write_text("x" * (SUMMARY_BYTES - 10))
    said = paritygate("gate", "bad", "--output-format", "github", **environ)
    assert summary.stat().st_size == SUMMARY_BYTES - 10
    assert "the summary of this step is full: 1,048,566 bytes were there before" in said.out
    before = summary.read_text()
    paritygate("gate", "bad", **environ)
    assert summary.read_text() == before, "only a runner's format writes it"


def test_an_annotation_is_at_the_line_of_the_candidate(paritygate: Callable, runs: Path, tmp_path: Path) -> None:
    """The candidate of this run is a package in a repository, which says where its modules are called."""
    package = tmp_path / "repository" / "src" / "port_of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "attention.py").write_text("\n" * 9)
    run = Run.open(runs / "bad")
    workers = ({"candidate": {"port_of_mine": "0"}},)
    run = run.save(replace(run.info, workers=workers))
    sources = {"layers.1.attn": "port_of_mine/attention.py:7", "embed": "port_of_mine/gone.py:3"}
    inspection = Inspection("tiny-scout.long", "f64/single/cpu", (), sources=sources)
    (run.folder / "inspections.jsonl").write_text(canonical(inspection) + "\n")
    environ = {"PARITYGATE_PATH": str(package.parent), "GITHUB_WORKSPACE": str(tmp_path / "repository")}
    said = paritygate("gate", "bad", "--output-format", "github", **environ)
    where = "::error file=src/port_of_mine/attention.py,line=7,title=paritygate%3A layers.1.attn%3Ainner.q_rope over"
    assert any(line.startswith(where) for line in said.out.splitlines())

    found = Sources(run, tmp_path / "repository")
    assert found.of_line("attention.py:3", "") == Spot("src/port_of_mine/attention.py", 3)
    assert found.of_line("attention.py:3", "port_of_mine.attention:f") == Spot("src/port_of_mine/attention.py", 3)
    nowhere = [
        found.of_site("tiny-scout.long", "embed"), found.of_site("tiny-scout.long", "head"),
        found.of_line("other.py:3", ""), found.of_line("attention.py:x", ""), found.of_line("attention.py:3", "json:f"),
        Sources(run, tmp_path / "elsewhere").of_site("tiny-scout.long", "layers.1.attn"),
    ]  # fmt: skip
    assert nowhere == [Spot()] * len(nowhere)
    (package / "deep").mkdir()
    (package / "deep" / "attention.py").touch()
    assert Sources(run, tmp_path / "repository").of_line("attention.py:3", "") == Spot(), "two of one name: not guessed"
