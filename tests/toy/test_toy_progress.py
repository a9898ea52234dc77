"""What a run shows on its way: on a terminal, in CI, in a pipe; and Ctrl-C, which keeps and judges what is there."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy.terminal import CTRL_C, on_terminal
from toy.workplace import Workplace

CELLS = ("--cells", "f32,bf16", "--workers", "1")
VALUES = 16  # of a cell
PASS = "PASS  All 32 values of 1 case are within budget."


def judged(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_ctrl_c_on_a_terminal_judges_what_is_there_and_the_rest_can_follow(
    variant: Callable[[str], Workplace],
) -> None:
    place = variant("stops")
    in_ci = subprocess.run(
        place.command("run", "toy", *CELLS), cwd=place.root, env=place.environ | {"CI": "true"}, capture_output=True,
        text=True,
    )  # fmt: skip
    (whole,) = place.run_folders()
    lines = in_ci.stderr.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  f32/single/cpu  toy-2.plain  16 of 32 values", lines[0]), in_ci.stderr
    assert len(lines) <= 2 and "\x1b" not in in_ci.stderr
    assert in_ci.stdout.startswith(PASS) and in_ci.returncode == 0

    environ = place.environ | {"TOY_STOPS": "hangs in head", "NO_COLOR": ""}
    with on_terminal(place.command("run", "toy", *CELLS), environ, place.root) as terminal:
        terminal.read_until("bf16/single/cpu  toy-2.plain  isolated  head")
        terminal.press(CTRL_C)
        assert terminal.end() == 130, terminal.text
    assert f"{VALUES} of {2 * VALUES} values" in terminal.text
    assert "f32/single/cpu, bf16/single/cpu  starting" in terminal.text
    (folder,) = place.run_folders() - {whole}
    assert "isolated  head" in terminal.text and "judging" in terminal.text
    assert terminal.screen.lstrip("\n^C").startswith("INCOMPLETE"), "what was drawn is wiped"
    assert terminal.written.rindex(b"\x1b[?25h") > terminal.written.rindex(b"\x1b[?25l"), "the cursor is there again"
    said = terminal.text.rpartition("INCOMPLETE")[2]
    assert "16 of 32 values of 1 case pass, the rest is unknown" in said
    assert f"next    paritygate run --resume {folder.name}\ninterrupted\n" in said
    assert "Traceback" not in terminal.text and "KeyboardInterrupt" not in (folder / "workers" / "0.log").read_text()
    assert json.loads((folder / "run.json").read_text())["problems"] == ["the run was interrupted"]
    assert [row["verdict"] for row in judged(folder)].count("pass") == VALUES
    assert (folder / "report.html").is_file()

    resumed = place.done("run", "--resume", folder.name, "--quiet")
    assert (resumed.out, resumed.err) == (f"{PASS}\n", "")
    assert judged(folder) == judged(whole)


def test_a_pipe_is_told_of_the_end_only_and_a_dumb_terminal_of_no_bar(place: Workplace) -> None:
    cells = ("--cells", "f32")
    piped = place.done("run", "toy", *cells)
    assert piped.err == "" and piped.out.startswith("PASS  ")
    with on_terminal(place.command("run", "toy", *cells), place.environ, place.root) as terminal:
        assert terminal.end() == 0
    assert "16 of 16 values" in terminal.text and terminal.screen.lstrip("\n").startswith("PASS  ")
    dumb = ["env", "TERM=dumb", *place.command("run", "toy", *cells)]
    with on_terminal(dumb, place.environ, place.root) as terminal:
        assert terminal.end() == 0
    assert b"\x1b" not in terminal.written
    assert re.search(r"^\d\d:\d\d:\d\d  f32/single/cpu  toy-2.plain  16 of 16 values$", terminal.text, re.MULTILINE)


def test_other_long_verbs_are_quiet_too(place: Workplace, tmp_path: Path) -> None:
    assert place.done("capture", "toy", "--quiet").out == "captured 1 case into golden\n"
    seeds = place.done("seeds", "toy", "--count", "1", "--cells", "f64", "--keep", str(tmp_path), "--quiet")
    assert seeds.out == "1 seed of 1 case in 1 cell: 16 values, no false alarm\n"
    refused = place.done("golden", "ls", "--quiet", code=2)
    assert refused.err == "nothing to be quiet about: golden ls --quiet\n"
    assert place.done("show", "--quiet", code=2).err.startswith("Usage: ")
    with pytest.raises(AssertionError, match="never came"), on_terminal(["true"], {}, place.root) as terminal:
        terminal.read_until("anything")
