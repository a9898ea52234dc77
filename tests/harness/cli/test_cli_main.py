"""The frame of the command line: exit codes, error text, --json everywhere, verbs from one file."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import paritygate.cli.verbs
from paritygate.cli.main import read_settings
from paritygate.cli.options import DEFAULT_CELLS
from paritygate.cli.output import say
from paritygate.cli.verb import Verb
from paritygate.core.registry import discover

VERBS = """
approve budget capture compare compile db doctor dtypes explain gate golden job judge list locate manifest mutate
programs project replay report run seeds serve show token upload worker
""".split()
ENDLESS = {"serve", "worker"}  # until they are ended: there is no value that they could print

EXTENSION = """
from paritygate.cli.verb import Context, Json, Verb
from paritygate.core.errors import ExitCode, GoldenError, InfrastructureError, NothingComparedError, UsageError

ERRORS = {{
    "usage": UsageError("wrong name", where="x", expected="y", got="z", try_="paritygate list"),
    "golden": GoldenError("golden is gone"),
    "machine": InfrastructureError("worker died"),
    "nothing": NothingComparedError("nothing"),
    "bug": ValueError("oops"),
    "interrupt": KeyboardInterrupt(),
    "disk": OSError(28, "No space left on device", "/full/drifts.jsonl"),
}}

def fail(context: Context, how: str, as_json: Json = False) -> ExitCode:
    if how == "talk":
        for line in range(100_000):
            print(line)
        return ExitCode.DRIFT if as_json else ExitCode.GOLDEN
    if how == "drift":
        return ExitCode.DRIFT
    if how == "pass":
        print("fine")
        return ExitCode.PASS
    raise ERRORS[how]

VERB = Verb({name!r}, fail, "Ends as it is told.")
"""


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A directory with one more verb, `fail`."""
    monkeypatch.setattr(paritygate.cli.verbs, "__path__", list(paritygate.cli.verbs.__path__))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "more" / "verbs").mkdir(parents=True)
    (tmp_path / "more" / "verbs" / "zz_fail.py").write_text(EXTENSION.format(name="fail"))
    yield str(tmp_path / "more")
    sys.modules.pop("paritygate.cli.verbs.zz_fail", None)


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("pass", 0, ""),
        ("drift", 1, ""),
        ("usage", 2, "wrong name: x\n  expected  y\n  got       z\n  try       paritygate list\n"),
        ("golden", 3, "golden is gone\n"),
        ("machine", 4, "worker died\n"),
        ("bug", 4, "unexpected ValueError: oops\n  try       the same command with --debug\n"),
        (
            "disk",
            4,
            "file cannot be read or written: /full/drifts.jsonl\n  got       No space left on device\n"
            "  try       room on that disk and leave to write there, or another folder: "
            "PARITYGATE_RUNS, PARITYGATE_GOLDEN, of a service --data\n",
        ),
        ("nothing", 5, "nothing\n"),
        ("interrupt", 130, "interrupted\n"),
    ],
)
def test_every_end_has_its_code_and_text(paritygate: Callable, extension: str, how: str, code: int, text: str) -> None:
    said = paritygate("fail", how, PARITYGATE_PATH=extension)
    assert (said.code, said.err) == (code, text)


READER_LEAVES = "import sys; from paritygate.cli.main import main; sys.exit(main())"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fail", "talk"], 3),
        (["fail", "talk", "--json"], 1),
        (["list", "sites"], 0),
        (["--help"], 0),
        (["fail", "usage"], 2),
        (["fail", "bug"], 4),
        (["nonsense"], 2),
    ],
    ids=str,
)
def test_a_reader_that_leaves_changes_nothing(
    environ: dict[str, str], extension: str, arguments: list[str], code: int
) -> None:
    """As in `paritygate show 2>&1 | true`: both streams are gone before the first word."""
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run(
        [sys.executable, "-c", READER_LEAVES, *arguments],
        stdout=writing,
        stderr=writing,
        env=os.environ | environ | {"PARITYGATE_PATH": extension},
    )
    os.close(writing)
    assert child.returncode == code


def test_nothing_is_said_of_a_reader_that_leaves(environ: dict[str, str], extension: str) -> None:
    command = [sys.executable, "-c", READER_LEAVES, "fail", "talk"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environ | {"PARITYGATE_PATH": extension},
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == b"0\n"
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 3


def test_a_stream_that_is_closed_from_the_start_is_silent(environ: dict[str, str], extension: str) -> None:
    for closed in ("1>&-", "2>&-", "1>&- 2>&-"):
        command = f'"$0" -c "$1" fail drift {closed}'
        child = subprocess.run(
            ["sh", "-c", command, sys.executable, READER_LEAVES],
            env=os.environ | environ | {"PARITYGATE_PATH": extension},
            capture_output=True,
        )
        assert (child.returncode, child.stdout, child.stderr) == (1, b"", b"")


def test_debug_shows_the_traceback(paritygate: Callable, extension: str) -> None:
    with pytest.raises(ValueError, match="oops"):
        paritygate("fail", "bug", "--debug", PARITYGATE_PATH=extension)
    with pytest.raises(ValueError, match="oops"):
        paritygate("fail", "bug", PARITYGATE_PATH=extension, PARITYGATE_DEBUG="1")


def test_help_lists_every_verb_and_that_of_an_extension(paritygate: Callable, extension: str) -> None:
    said = paritygate("--help", PARITYGATE_PATH=extension)
    assert said.code == 0
    for verb in [*VERBS, "fail"]:
        assert f"\n  {verb} " in said.out, verb


def test_verbs_are_these_and_each_has_json() -> None:
    verbs = discover("paritygate.cli.verbs", "VERB", Verb)
    assert sorted(verbs) == VERBS
    for verb in verbs.values():
        assert (verb.name in ENDLESS) != ("as_json" in inspect.signature(verb.function).parameters), verb.name


def test_two_verbs_of_one_name_are_refused(paritygate: Callable, extension: str) -> None:
    path = Path(extension) / "verbs" / "zz_fail.py"
    path.write_text(EXTENSION.format(name="run"))
    said = paritygate("list", "cells", PARITYGATE_PATH=extension)
    assert said.code == 2
    assert said.err == "two modules define VERB 'run': paritygate.cli.verbs.zz_fail\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run", "--mode", "sideways"], "unknown mode: sideways\n  expected  isolated or chained or "),
        (["run", "--workers", "0"], "--workers"),
        (["list", "familes"], "familes"),
        (["approve", "--select", "*"], "--reason"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_code_2(paritygate: Callable, arguments: list[str], text: str) -> None:
    if arguments[0] == "run" and "sideways" in arguments:
        arguments = ["replay", *arguments[1:]]  # run looks at the budgets first, which are not here
    said = paritygate(*arguments)
    assert said.code == 2
    assert text in said.err


def test_extension_directory_that_is_not_there(paritygate: Callable) -> None:
    said = paritygate("list", "cells", PARITYGATE_PATH="/nowhere")
    assert (said.code, said.err) == (2, "extension directory does not exist: /nowhere\n")


def test_what_is_said_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[31mred\x1b[0m\ttab\nline", "a\x1b[2Jb\x1b]0;owned\x07c\rd\x9be\x00")
    say("\x9b", to=sys.stderr)
    assert capsys.readouterr() == ("\x1b[31mred\x1b[0m\ttab\nline\na?[2Jb?]0;owned?c?d?e?\n", "?\n")


def test_defaults_come_from_the_nearest_folder_with_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "budgets.toml").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    settings = read_settings({"XDG_CACHE_HOME": "/c"}, ["run"])
    assert settings.golden == tmp_path / "golden"
    assert settings.runs == tmp_path / "reports" / "runs"
    assert settings.cache == Path("/c/paritygate/xla")
    assert read_settings({"HOME": "/h"}, []).cache == Path("/h/.cache/paritygate/xla")
    assert read_settings({}, []).cache is None


def test_default_cells_are_the_catalogues() -> None:
    from paritygate.catalog import select

    assert DEFAULT_CELLS == select.DEFAULT_CELLS
