"""A tour of every exit code: each provoked through the real command line, in a process of its own."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.core.drift import Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.run import Run

from toy.forked import FORKED


@pytest.fixture(scope="module")
def runs(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for each way to end: right, wrong, not whole, and with nothing in it that was compared."""
    folder = tmp_path_factory.mktemp("runs")
    synthetic.write_run(folder / "right", "none")
    synthetic.write_run(folder / "wrong", "semantic")
    synthetic.write_run(folder / "broken", "none", problems=("worker 1 died of signal 9",))
    skipped = [replace(row, verdict=Verdict.SKIPPED, reason="no GPU here") for row in synthetic.rows("none", layers=1)]
    Run.open(synthetic.write_run(folder / "empty", "none").folder).save_rows(skipped)
    return folder


@pytest.fixture
def environ(environ: dict[str, str], runs: Path) -> dict[str, str]:
    return environ | {"PARITYGATE_RUNS": str(runs)}


# code → the command lines that end with it, and a word that each says
TOUR: dict[ExitCode, Sequence[tuple[str, str]]] = {
    ExitCode.PASS: [("gate right", "PASS"), ("compare right right", "0 changed rows"), ("--help", "Exit codes")],
    ExitCode.DRIFT: [("gate wrong", "FAIL"), ("locate wrong", "semantic"), ("compare right wrong", "broken")],
    ExitCode.USAGE: [
        ("gate nowhere", "unknown run: nowhere"),
        ("gate right --json --output-format junit", "two formats"),
        ("gate right --output-format yaml", "yaml"),
        ("run tiny --locked --frobnicate", "frobnicate"),
        ("capture tiny --locked", "locked"),
    ],
    ExitCode.GOLDEN: [("judge right", "no golden"), ("golden verify", "no goldens")],
    ExitCode.INFRASTRUCTURE: [("gate broken", "INCOMPLETE")],
    ExitCode.NOTHING_COMPARED: [("gate empty", "NOTHING")],
}
LINES = [(code, line, word) for code, lines in TOUR.items() for line, word in lines]


@pytest.mark.parametrize(("code", "line", "word"), LINES, ids=[f"{int(code)}-{line}" for code, line, _ in LINES])
def test_exit_code(environ: dict[str, str], code: ExitCode, line: str, word: str) -> None:
    ended, out, err = FORKED.call(line.split(), Path.cwd(), os.environ | environ)
    assert (ended, word in out + err) == (int(code), True), out + err


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [("\x03", ExitCode.INTERRUPTED, "interrupted"), (signal.SIGTERM, ExitCode.TERMINATED, "terminated")],
    ids=["130-Ctrl-C", "143-SIGTERM"],
)
def test_a_verb_that_is_stopped(on_terminal: Callable, answer: str, code: ExitCode, word: str) -> None:
    arguments = ("--select", "*/bf16/*/chained/layers.1.post_norm:out", "--reason", "r", "--by", "Ada")
    found, said = on_terminal(answer, "approve", "wrong", *arguments)
    assert (found, said.rstrip().endswith(word)) == (code, True), said


def test_every_code_is_on_the_tour() -> None:
    assert {*TOUR, ExitCode.INTERRUPTED, ExitCode.TERMINATED} == set(ExitCode)


@pytest.mark.parametrize("form", ["text", "json", "junit", "github", "markdown"])
@pytest.mark.parametrize(("run", "code"), [("right", 0), ("wrong", 1), ("broken", 4), ("empty", 5)])
def test_the_code_is_the_same_in_every_format(paritygate: Callable, runs: Path, form: str, run: str, code: int) -> None:
    said = paritygate("gate", run, "--output-format", form)
    assert (said.code, bool(said.out), said.err) == (code, True, "")
