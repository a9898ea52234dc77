"""What the runner makes of a page: a block is run or says why it is not, and what is shown must be what is printed."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from paritygate.cli.main import build_app

from docs.documents import DOCS, ROOT, Step, UnmarkedError, fits, pages, read_page, steps
from docs.session import Session

PAGES = pages()
FENCE = "```"
MAKE = re.compile(r"^make ([a-z]+)\b")


def test_every_block_is_run_or_says_why_it_is_not() -> None:
    for page in PAGES.values():
        for block in page.blocks:
            if block.language == "console":
                assert steps(block), f"{page.name}:{block.line}: a session without a command"
            if block.file:
                assert ((DOCS / page.name).parent / block.file).is_file(), f"{page.name}: {block.file}"
    run = {block.language for page in PAGES.values() for block in page.run}
    assert run == {"console", "python", "{literalinclude}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{FENCE}bash\nls\n{FENCE}", "page.md:1: block of bash is not run, and does not say why"),
        (f"{FENCE}\nls\n{FENCE}", "page.md:1: block of no language is not run"),
        (f"<!-- not run: -->\n{FENCE}text\nls\n{FENCE}", "page.md:2: block of text is not run"),
        (f"{FENCE}console\n$ ls", "page.md:1: block has no end"),
        (f"{FENCE}output\n1\n{FENCE}", "page.md:1: output of nothing"),
        (":::{literalinclude} a.py\n:::", "page.md:1: a file without a caption"),
    ],
)
def test_a_block_that_is_neither_is_refused(text: str, said: str) -> None:
    with pytest.raises(UnmarkedError, match=re.escape(said)):
        read_page(text, "page.md")


def test_a_block_with_a_reason_is_not_run_and_a_session_begins_with_a_command() -> None:
    page = read_page(f"<!-- not run: it needs a TPU -->\n{FENCE}console\n$ ls\n{FENCE}\n", "page.md")
    assert [block.reason for block in page.blocks] == ["it needs a TPU"] and page.run == []
    (block,) = read_page(f"{FENCE}console\n$ cat <<E\n> one\n>\n> E\none\n\n$ true\n{FENCE}", "page.md").run
    assert steps(block) == [Step("cat <<E\none\n\nE", "one\n\n", 2), Step("true", "", 8)]
    with pytest.raises(UnmarkedError, match="begins with a command"):
        steps(read_page(f"{FENCE}console\nls\n{FENCE}", "page.md").blocks[0])


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("one\n", "one  \n\n", True),
        ("one\n", "two\n", False),
        ("one\n", "one\ntwo\n", False),
        ("took ... s\n", "took 3.1 s\n", True),
        ("took ... s\n", "took 3.1\n s\n", False),
        ("one\n...\nfour\n", "one\ntwo\nthree\nfour\n", True),
        ("one\n...\nfour\n", "one\nfour\n", True),
        ("one\n...\nfour\n", "one\nfourth\n", False),
        ("a.c\n", "abc\n", False),
        ("", "", True),
        ("", "surprise\n", False),
    ],
)
def test_an_ellipsis_is_part_of_a_line_or_whole_lines(shown: str, printed: str, expected: bool) -> None:
    assert fits(shown, printed) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{FENCE}console\n$ echo one\ntwo\n{FENCE}", "page.md:2: echo one\n--- shown\n+++ printed\n"),
        (
            f"{FENCE}console\n$ exit 3\n{FENCE}",
            "page.md:2: exit 3\nends with exit code 3, which the page does not show",
        ),
        (f"{FENCE}python\nprint(1)\n{FENCE}\n{FENCE}output\n2\n{FENCE}", "page.md:2\n--- shown\n+++ printed\n"),
        (f"{FENCE}python\nraise SystemExit(2)\n{FENCE}", "page.md:2\nends with exit code 2"),
    ],
)
def test_a_page_that_shows_what_does_not_happen_is_said_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        Session.begin(tmp_path).do(read_page(text, "page.md"))


def test_a_session_keeps_its_folder_its_variables_and_its_exit_code(tmp_path: Path) -> None:
    first = "$ mkdir inner\n$ cd inner\n$ export WHAT=kept\n$ false\n$ echo $?\n1\n"
    session = Session.begin(tmp_path / "first")
    session.do(read_page(f"{FENCE}console\n{first}{FENCE}", "page.md"))
    again = "$ echo $WHAT $(basename $PWD)\nkept inner\n$ touch new\n"
    session.another(tmp_path / "second").do(read_page(f"{FENCE}console\n{again}{FENCE}", "page.md"))
    assert not list(session.folder.rglob("new")), "a page that goes on works on a copy"


def test_commands_that_are_not_run_are_commands_that_there_are() -> None:
    app = typer.main.get_command(build_app())
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    seen = 0
    for page in PAGES.values():
        for block in page.blocks:
            for step in steps(block) if block.when == "never" and block.language == "console" else ():
                seen += 1
                if step.command.startswith("paritygate "):
                    assert refusal(app, step.command) == "", f"{page.name}:{step.line}"
                elif made := MAKE.match(step.command):
                    assert made[1] in targets, f"{page.name}:{step.line}"
    assert seen > 20


def refusal(app: Any, command: str) -> str:
    """Why the command line would not take a command; empty where it would. Values are not looked at."""
    _, verb, *arguments = shlex.split(command.partition(" | ")[0].partition(" > ")[0], comments=True)
    if verb not in app.commands:
        return f"there is no verb {verb}"
    context = typer.Context(app.commands[verb], info_name=verb)
    try:
        _, left, _ = app.commands[verb].make_parser(context).parse_args(arguments)
    except Exception as reason:
        return str(reason)
    return f"{left} is too much" if left else ""


def test_a_command_that_there_is_not_is_seen() -> None:
    app = typer.main.get_command(build_app())
    assert refusal(app, "paritygate run tiny --cells 'f64 x single' # the main job") == ""
    assert refusal(app, "paritygate walk") == "there is no verb walk"
    assert "--sells" in refusal(app, "paritygate run tiny --sells f64")
    assert "too much" in refusal(app, "paritygate gate latest again")


LINK = re.compile(r"\]\((?P<path>[^)#:\s]+)(?:#[\w-]*)?\)")


def missing_links(text: str, folder: Path) -> list[str]:
    return [link["path"] for link in LINK.finditer(text) if not (folder / link["path"]).exists()]


def test_every_link_leads_to_a_file() -> None:
    assert missing_links("[one](two.md) [three](#four) [five](https://six)", ROOT) == ["two.md"]
    for file in [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / ".github" / "CONTRIBUTING.md"]:
        assert missing_links(file.read_text(encoding="utf-8"), file.parent) == [], file
