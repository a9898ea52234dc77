"""The committed sample: a whole run that says what is wrong with its port, and the page that is drawn of it today."""

import subprocess
import sys
from pathlib import Path

from paritygate.core.run import Run
from paritygate.report.commands import templates

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "reports" / "sample"


def test_the_sample_says_what_was_planted() -> None:
    run = Run.open(SAMPLE)
    first = min((row for row in run.judged() if row.diagnosis == "semantic"), key=lambda row: row.drift.order)
    assert (run.info.fault, first.drift.address) == ("kv-heads-tiled", "layers.0.attn:inner.probs")
    assert "at heads 1 and 4, from token 1 on" in first.evidence
    assert [each.explanations[0].hypothesis for each in run.counterfactuals()] == ["key heads tiled"]
    assert [blame.parting and blame.parting.line for blame in run.blames()] == ["attention.py:57"]


def test_what_it_tells_to_type_next_finds_it_again() -> None:
    """It lies in no folder of runs, and its candidate has a fault."""
    command = [sys.executable, "-m", "paritygate", "locate", "reports/sample"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "next    paritygate show reports/sample layers.0.attn:inner.probs"
    assert templates(Run.open(SAMPLE).info)[0].text.endswith(" --fault kv-heads-tiled")


def test_its_page_is_the_one_of_today(tmp_path: Path) -> None:
    """`reports/sample.py --page` draws it again."""
    copied = tmp_path / SAMPLE.name
    copied.mkdir()
    for path in SAMPLE.glob("*.json*"):
        (copied / path.name).write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "paritygate", "report", str(copied)], cwd=ROOT, check=True, capture_output=True
    )
    assert (copied / "report.html").read_bytes() == (SAMPLE / "report.html").read_bytes()


def test_it_names_no_folder_of_the_machine_that_made_it() -> None:
    """Paths begin at the repository's root."""
    for path in SAMPLE.glob("*.json*"):
        assert '"/' not in path.read_text(), path.name


def test_the_picture_is_one() -> None:
    assert (SAMPLE / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "reports/sample/report.png" in (ROOT / "README.md").read_text()
