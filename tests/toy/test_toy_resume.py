"""`--resume` by the command line: after a kill -9 of the launcher, after SIGTERM, after a worker that died.

After Ctrl-C it is tested in `test_toy_progress.py`, on a terminal.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy.workplace import Said, Workplace

CELLS = ("--cells", "f32,bf16")
VALUES = 16  # of a cell
UNTIL_S = 120.0


def ended_in_bf16(place: Workplace, by: signal.Signals) -> Said:
    """`run`, ended from outside when all of f32 is there and the worker hangs in bf16."""
    before = place.run_folders()
    child = subprocess.Popen(
        place.command("run", "toy", *CELLS),
        cwd=place.root,
        env=place.environ | {"TOY_STOPS": "hangs"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + UNTIL_S
    while time.monotonic() < deadline and child.poll() is None:
        drifts = [folder / "drifts.jsonl" for folder in place.run_folders() - before]
        if any(path.exists() and path.read_text().count("\n") == VALUES for path in drifts):
            break
        time.sleep(0.05)
    child.send_signal(by)
    out, err = child.communicate(timeout=60)
    return Said(child.returncode, out, err)


def judged(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.fixture
def place(variant: Callable[[str], Workplace]) -> Workplace:
    return variant("stops")


def test_a_run_that_was_killed_or_terminated_is_finished(place: Workplace) -> None:
    whole = place.done("run", "toy", *CELLS, "--json").json
    for by, code, says in (
        (signal.SIGKILL, -9, "the run did not finish"),
        (signal.SIGTERM, 143, "the run was interrupted"),
    ):
        said = ended_in_bf16(place, by)
        assert said.code == code, said.err
        (folder,) = (path for path in place.run_folders() if json.loads((path / "run.json").read_text())["problems"])
        info = json.loads((folder / "run.json").read_text())
        assert info["problems"] == [says]
        assert info["workers"][0]["candidate"].keys() == {"toy_jax"}
        assert not (folder / "rows.jsonl").exists(), "there is no time to judge"
        if by is signal.SIGTERM:
            assert said.err == f"terminated\n  try       paritygate run --resume {folder.name}\n"
        resumed = place.done("run", "--resume", folder.name, "--json").json
        assert (resumed["run"], resumed["problems"], resumed["summary"]) == (folder.name, [], whole["summary"])
        assert judged(folder) == judged(Path(whole["folder"]))
        assert (folder / "coverage.json").read_bytes() == (Path(whole["folder"]) / "coverage.json").read_bytes()
        assert (folder / "report.html").exists()


def test_a_run_whose_worker_died_is_judged_and_then_finished(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_STOPS", "killed")
    died = place.done("run", "toy", *CELLS, code=4)
    (folder,) = (path for path in place.run_folders() if f"--resume {path.name}" in died.out)
    assert died.out.splitlines()[-1] == f"next    paritygate doctor, then paritygate run --resume {folder.name}"
    assert {row["verdict"] for row in judged(folder)} == {"pass", "missing"}
    assert (folder / "report.html").exists()
    monkeypatch.delenv("TOY_STOPS")

    refused = place.done("run", "toy", "--resume", folder.name, "--cells", "f32", code=2)
    assert refused.err == (
        f"a run is resumed as it was asked for: --resume {folder.name}\n"
        "  expected  no other one: it is paritygate run toy --cells f32,bf16\n"
        "  got       SUITE, --cells\n"
    )

    replayed = place.done("replay", "--resume", folder.name)
    assert "replayed 1 cases in 2 cells" in replayed.out
    assert place.done("gate", folder.name, code=2).err.startswith("run is not judged")
    assert {row["verdict"] for row in place.done("run", "--resume", "latest") and judged(folder)} == {"pass"}

    judged_at = (folder / "rows.jsonl").stat().st_mtime_ns
    again = place.done("run", "--resume", str(folder))
    assert again.out.startswith(f"{folder.name} is whole: there is nothing to resume.\n\nPASS")
    assert (folder / "rows.jsonl").stat().st_mtime_ns == judged_at
    assert "nothing to resume" in place.done("replay", "--resume", "latest").out


def test_what_is_no_run_is_refused(place: Workplace, tmp_path: Path) -> None:
    assert place.done("run", "--resume", "no-such", code=2).err.startswith("unknown run: no-such")
    assert place.done("run", "--resume", str(tmp_path), code=2).err.startswith("no such run: ")
