"""`approve`: what it shows, whom it asks, what it writes and keeps; and that nothing is written under --locked."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.cli.verb import Verb
from paritygate.core.registry import discover

SELECT = "tiny-scout.long/bf16/single/cpu/chained/layers.1.post_norm:out"
ASKED = ("approve", "bad", "--select", SELECT, "--reason", "known and harmless")
ADA = ("--by", "Ada")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return tmp_path / "golden"


@pytest.fixture(scope="module")
def made(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    synthetic.write_run(folder / "good", "none", started="20260101T000000Z")
    synthetic.write_run(folder / "bad", "semantic", started="20260102T000000Z")
    return folder


@pytest.fixture(autouse=True)
def runs(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "runs")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_change_is_shown_and_then_written_with_who_and_why(paritygate: Callable, golden: Path) -> None:
    said = paritygate(*ASKED, *ADA, "--yes")
    assert said.code == 0
    place, before, after, count, written, following = said.out.splitlines()
    assert (place, before) == (SELECT, "    before  nothing was accepted")
    assert after.startswith("    after   max_abs ") and after.endswith(" of its budget); over budget")
    assert count == "1 row: 1 new, 0 accepted before; reason: known and harmless"
    assert written.startswith("1 row accepted in ") and written.endswith(" by Ada")
    assert following == "next    paritygate judge bad"
    (line,) = (golden / "baselines" / "cpu.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "known and harmless"
    audit = json.loads((golden / "audit.jsonl").read_text())
    assert (audit["who"], audit["run"], audit["select"], audit["rows"]) == ("Ada", "bad", SELECT, 1)
    again = paritygate(*ASKED[:-1], "seen again", *ADA, "--yes").out.splitlines()
    assert again[1].startswith("    before  max_abs ") and again[1].endswith(": known and harmless")
    assert again[3] == "1 row: 0 new, 1 accepted before; reason: seen again"
    assert len((golden / "audit.jsonl").read_text().splitlines()) == 2


def test_a_dry_run_shows_and_writes_nothing(paritygate: Callable, golden: Path) -> None:
    said = paritygate(*ASKED, "--dry-run")
    assert (said.code, said.out.splitlines()[0]) == (0, SELECT)
    assert said.out.splitlines()[-2] == "nothing was written"
    as_json = json.loads(paritygate(*ASKED, "--dry-run", "--json").out)
    assert (as_json["written"], as_json["proposals"][0]["before"]) == (False, None)
    assert not golden.exists()


def test_where_nobody_can_be_asked_it_takes_yes(paritygate: Callable, golden: Path) -> None:
    said = paritygate(*ASKED, *ADA)
    assert said.code == 2
    assert said.out.startswith(SELECT), "what would change is shown all the same"
    assert said.err.splitlines() == [
        "nobody is there to be asked: paritygate approve",
        "  expected  an answer on a terminal, or --yes",
        "  try       --dry-run to see what would change, then --yes",
    ]
    assert not golden.exists()


def test_it_needs_a_name(paritygate: Callable, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.chdir(golden.parent)
    said = paritygate(*ASKED, "--yes")
    assert (said.code, said.err.splitlines()[0]) == (2, "nobody is named who accepts it")
    (golden.parent / "gitconfig").write_text("[user]\nname = Grace\nemail = grace@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(golden.parent / "gitconfig"))
    assert " by Grace <grace@example.org>\n" in paritygate(*ASKED, "--yes").out


@pytest.mark.parametrize(
    ("answer", "code", "is_written"), [("y\n", 0, True), ("n\n", 0, False), ("\n", 0, False), ("\x03", 130, False)]
)
def test_on_a_terminal_it_asks(on_terminal: Callable, golden: Path, answer: str, code: int, is_written: bool) -> None:
    found, said = on_terminal(answer, *ASKED, *ADA)
    assert found == code, said
    assert said.index("reason: known and harmless") < said.index("Accept 1 row? [y/N]")
    assert (golden / "baselines" / "cpu.jsonl").exists() is is_written
    assert (golden / "audit.jsonl").exists() is is_written


def test_a_glob_that_matches_nothing_is_refused(paritygate: Callable) -> None:
    refused = paritygate("approve", "bad", "--select", "*/nothing:*", "--reason", "r", "--yes")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "no row matches: */nothing:*")


def test_a_semantic_row_is_accepted_only_by_that_word(paritygate: Callable, golden: Path) -> None:
    select = "tiny-scout.long/f64/*/layers.1.attn:inner.[qk]_rope"
    arguments = ["approve", "bad", "--select", select, "--reason", "r", "--yes", *ADA]
    said = paritygate(*arguments)
    assert (said.code, said.err.splitlines()) == (
        2,
        [
            f"2 of 4 rows compute something else: {select}",
            "  expected  rows whose diagnosis is not semantic",
            "  got       tiny-scout.long/f64/single/cpu/isolated/layers.1.attn:inner.q_rope",
            "            tiny-scout.long/f64/single/cpu/chained/layers.1.attn:inner.q_rope",
            "  try       a glob that leaves them out, or --semantic where the reference is what is wrong",
        ],
    )
    assert not (golden / "baselines").exists()
    assert paritygate(*arguments, "--semantic").code == 0
    assert len((golden / "baselines" / "cpu.jsonl").read_text().splitlines()) == 4


def test_verify_finds_a_line_that_nobody_accepted(paritygate: Callable, golden: Path) -> None:
    paritygate(*ASKED, *ADA, "--yes")
    said = paritygate("golden", "verify")
    assert "baseline" not in said.out
    baseline = golden / "baselines" / "cpu.jsonl"
    baseline.write_text(baseline.read_text().replace("known and harmless", "known"))
    said = paritygate("golden", "verify")
    assert said.code == 3
    assert f"baseline {SELECT}: accepted, or changed, by another hand than `paritygate approve`" in said.out


WRITING = {
    "approve": ASKED[1:],
    "capture": ("tiny",),
    "programs": ("bad", "--accept"),
    "compile": ("rehearsal", "--target", "cpu:8", "--accept"),
    "budget": ("fit", "--write"),
    "mutate": ("--write",),
    "dtypes": ("--write",),
    "golden gc": (),
    "golden floors": (),
    "golden describe": (),
    "golden pull": ("--remote", "elsewhere"),
    "golden push": ("--remote", "elsewhere", "--replace"),
}


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize("how", ["--locked", "PARITYGATE_LOCKED"])
def test_locked_refuses_every_writer_before_it_begins(
    paritygate: Callable, golden: Path, runs: Path, verb: str, how: str
) -> None:
    golden.mkdir()
    (golden / "budgets.toml").write_text("not even read")
    before = files(golden), files(runs)
    flag, environ = (("--locked",), {}) if how == "--locked" else ((), {how: "1"})
    said = paritygate(*verb.split(), *WRITING[verb], *flag, **environ)
    assert (said.code, said.out) == (2, "")
    name = verb.partition(" ")[0]
    assert said.err.startswith(f"locked: nothing that is accepted may be written: paritygate {name}\n")
    assert (
        said.err.splitlines()[-1]
        == "  try       the same where a person reviews it, without --locked and PARITYGATE_LOCKED"
    )
    assert (files(golden), files(runs)) == before


def test_locked_lets_every_reader_through(paritygate: Callable) -> None:
    for arguments in (("gate", "good"), ("report", "good"), ("compare", "good", "good"), (*ASKED, "--dry-run")):
        assert paritygate("--locked", *arguments).code == 0, arguments
    for word in ("", "0", "false", "no"):
        assert paritygate("golden", "gc", PARITYGATE_LOCKED=word).code == 0


def test_no_verb_that_can_write_is_forgotten() -> None:
    """A verb that takes --write, --accept or --yes says what it writes; so do those that can do nothing else."""
    verbs = discover("paritygate.cli.verbs", "VERB", Verb)
    telling = {name for name, verb in verbs.items() if verb.writes.__module__ != "paritygate.cli.verb"}
    flags = {name for name, verb in verbs.items() if {"write", "accept", "yes"} & set(verb.function.__annotations__)}
    assert flags <= telling
    assert telling == {name.partition(" ")[0] for name in WRITING}
