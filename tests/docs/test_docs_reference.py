"""The reference is made from the code: all of it, and what has no words of its own is refused."""

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import paritygate.cli.main
from paritygate.catalog.meshes import MESHES
from paritygate.catalog.select import policies
from paritygate.cli.main import build_app
from paritygate.cli.verb import Context, Verb
from paritygate.core.codec import from_json
from paritygate.core.drift import Diagnosis, Drift, Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.family import Family
from paritygate.core.golden import Golden
from paritygate.core.registry import discover
from paritygate.core.run import Run, RunInfo
from paritygate.metrics.base import metrics
from paritygate.report.assemble import sections

import docs_offline
import reference_pages
from docs.documents import DOCS, ROOT
from reference_pages import GENERATORS, UndocumentedError, filled
from reference_pages.catalog import documented_metric
from reference_pages.formats import FILES, as_json, inner_nouns
from reference_pages.markdown import anchor, comments, documentation, prose, table, written
from reference_pages.nouns import modules, nouns_of
from toy.workplace import Workplace


def made(page: str) -> str:
    return filled((DOCS / page).read_text(encoding="utf-8"))


def test_every_generator_is_on_a_page_and_every_page_has_what_it_asks_for() -> None:
    asked = {line["name"] for file in DOCS.rglob("*.md") for line in reference_pages.LINE.finditer(file.read_text())}
    assert asked == set(GENERATORS)
    with pytest.raises(UndocumentedError, match="no generator 'verb'; there are arithmetics"):
        filled("% generated: verb")


def test_the_command_line_is_all_there() -> None:
    app: Any = typer.main.get_command(build_app())
    page = made("reference/cli.md")
    for name, command in app.commands.items():
        part = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert command.help in part
        for parameter in command.params:
            if parameter.name != "help":
                option = parameter.opts[0] if parameter.opts[0].startswith("-") else "| `"
                assert option in part and prose(" ".join(parameter.help.split())).replace("|", "\\|") in part, name


def test_every_extra_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    part = made("reference/cli.md").partition("\n## Extras\n")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", part, re.M) for name in re.findall(r"`([\w-]+)`", row)}
    assert named == set(extras)


def test_what_there_is_to_choose_from_is_all_there() -> None:
    cells = made("reference/cells.md")
    assert all(f"| `{name}` |" in cells for name in (*policies(), *MESHES))
    page = made("reference/metrics.md")
    assert all(f"\n## {name}\n" in page for name in metrics())
    assert page.count("```pycon\n>>> ") == len(metrics())
    report = made("reference/report.md")
    assert all(f"`{section.name}`" in report for section in sections())


def test_verdicts_diagnoses_and_exit_codes_have_a_meaning_each() -> None:
    page = made("reference/verdicts.md")
    for member in (*Verdict, *Diagnosis):
        assert not member.value or re.search(rf"^\| `{member.value}` \| \w", page, re.M), member
    codes = made("reference/exit-codes.md")
    assert all(re.search(rf"^\| `{int(member)}` \| \w", codes, re.M) for member in ExitCode)
    assert "golden missing, stale or corrupt | `GoldenError`" in codes


def test_every_noun_has_an_entry_with_every_field() -> None:
    page = made("reference/nouns.md")
    found = [cls for module in modules() for cls in nouns_of(module)]
    assert {Family, Golden, Drift, RunInfo, Verdict} <= set(found) and len(found) > 80
    for cls in found:
        entry = page.partition(f"\n({anchor(cls)})=\n")[2].partition("\n(noun-")[0]
        names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else [m.value for m in cls]
        assert entry and all(f"`{name}`" in entry for name in names if name), cls


@pytest.fixture
def planted_verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], None]:
    def plant(function: Any, help: str) -> None:
        found = {**discover("paritygate.cli.verbs", "VERB", Verb), "planted": Verb("planted", function, help)}
        monkeypatch.setattr(paritygate.cli.main, "discover", lambda *_: found)

    return plant


def test_a_verb_or_an_option_without_help_is_refused(planted_verb: Any) -> None:
    def silent(context: Context) -> ExitCode:
        return ExitCode.PASS

    def mute(context: Context, loud: bool = typer.Option(False, "--loud")) -> ExitCode:
        return ExitCode.PASS

    planted_verb(silent, "")
    with pytest.raises(UndocumentedError, match="verb planted has no help"):
        made("reference/cli.md")
    planted_verb(mute, "Says nothing.")
    with pytest.raises(UndocumentedError, match="verb planted: --loud has no help"):
        made("reference/cli.md")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "has no docstring"),
        ("A metric.\n\nRange: 0 upwards.\nBetter: lower.\n\n>>> 1\n1\n", "does not say its Formula:"),
        ("A metric.\n\nFormula: x.\nRange:\nBetter: lower.\n\n>>> 1\n1\n", "does not say its Range:"),
        ("A metric.\n\nFormula: x.\nRange: 0 upwards.\nBetter: lower.\n", "has no example"),
    ],
)
def test_a_metric_that_leaves_something_out_is_refused(words: str, said: str) -> None:
    module = ModuleType("planted")
    module.__doc__ = words
    with pytest.raises(UndocumentedError, match=f"planted {said}"):
        documented_metric(module)


def test_a_noun_without_a_docstring_is_refused() -> None:
    @dataclass(frozen=True)
    class Silent:
        name: str

    with pytest.raises(UndocumentedError, match="Silent has no docstring"):
        documentation(Silent, "Silent")


def test_what_markdown_would_take_for_its_own_is_words() -> None:
    assert prose("`a*b` is a_b <c> [d] *") == "`a*b` is a\\_b \\<c> \\[d\\] \\*"
    assert table(("a",), [("one\n| two",)]) == "| a |\n| --- |\n| one \\| two |\n"
    assert written(dict[str, Drift] | None) == "`str` → [Drift](#noun-drift) or `None`"

    class Marked(Enum):
        ONE = 1  # the first
        TWO = 2

    assert comments(Marked) == {"ONE": "the first"}


def test_json_of_a_type_is_what_the_codec_reads() -> None:
    assert as_json(tuple[int, ...]) == "array of integer"
    assert as_json(tuple[str, float]) == "array: string, number"
    assert as_json(Drift) == "object [Drift](#noun-drift)"
    with pytest.raises(TypeError, match="is not known"):
        as_json(set[int])
    for places in FILES.values():
        for stored in places:
            for cls in inner_nouns(stored.record):
                from_json(tuple[cls, ...], [])  # the codec knows the type


def test_every_file_of_a_run_and_of_its_goldens_is_described(place: Workplace) -> None:
    """The toy, run on a mesh and with a fault: each file that comes of it is on a page, and is what the page says."""
    run = place.done("run", "toy", "--cells", "f64 x single,tp2", "--json").json
    place.done("programs", run["run"], "--accept")
    place.done("approve", run["run"], "--select", "*/head:out", "--reason", "right", "--by", "Ada", "--yes")
    folder, golden = Path(run["folder"]), place.root / place.golden
    known = {stored.path: stored for stored in FILES["run"]}
    found = {file.name for file in folder.iterdir() if file.is_file()}
    assert found - {"report.html"} <= known.keys()
    assert {"run.json", "drifts.jsonl", "rows.jsonl", "programs.jsonl", "coverage.json"} <= found
    for name in found - {"report.html"}:
        for value in values_of(folder / name):
            from_json(known[name].record, value, name)
    suffixes = {file.relative_to(golden).parts[0] for file in golden.rglob("*") if file.is_file()}
    assert suffixes - {".lock"} == {"toy", "objects", "baselines", "audit.jsonl", "programs", "budgets.toml"}
    by_path = {stored.path: stored.record for stored in FILES["golden"]}
    by_place = {"toy/*.json": "SUITE/CASE.json", "baselines/*.jsonl": "baselines/PLATFORM.jsonl"}
    for pattern, path in {**by_place, "audit.jsonl": "audit.jsonl"}.items():
        for file in golden.glob(pattern):
            assert [from_json(by_path[path], value) for value in values_of(file)]
    by_key = {stored.key: stored.record for stored in FILES["programs"]}
    for line in values_of(next(golden.glob("programs/toy/*.jsonl"))):
        ((key, value),) = line.items()
        from_json(by_key[key], value)


def values_of(file: Path) -> list[Any]:
    text = file.read_text(encoding="utf-8")
    return [json.loads(text)] if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def test_every_reader_of_a_run_has_a_file_on_the_page() -> None:
    """What `Run` reads is what is described: a file that it learns to read has to be added."""
    source = Path(sys.modules[Run.__module__].__file__ or "").read_text()
    assert set(re.findall(r'"(\w+\.jsonl?)"', source)) == {stored.path for stored in FILES["run"]}


def test_making_the_pages_imports_neither_torch_nor_jax() -> None:
    code = (
        "import sys; sys.path.insert(0, 'docs/_ext'); from pathlib import Path; from reference_pages import filled\n"
        "for file in Path('docs').rglob('*.md'): filled(file.read_text())\n"
        "print(sorted({'torch', 'jax', 'jaxlib', 'flax', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert child.stdout.strip() == "[]", child.stdout + child.stderr


@pytest.mark.parametrize(
    ("markup", "asks"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<link href="//fonts.example/a.css" rel="stylesheet">', True),
        ("<style>@import url(https://fonts.example/a.css)</style>", True),
        ("<style>p { background: url('http://example/a.png') }</style>", True),
        ('<img alt="x" src="http://example/a.png">', True),
        ('<a href="https://example/">a link</a>', False),
        ('<script src="_static/x.js"></script>', False),
        ('<link rel="index" href="genindex.html">', False),
        ('<svg xmlns="http://www.w3.org/2000/svg"></svg>', False),
    ],
)
def test_a_page_that_asks_another_host_is_seen(markup: str, asks: bool) -> None:
    assert bool(docs_offline.requests(markup)) is asks
