"""The pages of the documentation as what they ask a reader to do: blocks to run, what they print, files to write.

A fence `console` is a session: lines behind `$ ` are commands (`> ` goes on), the others what they print. A fence
`python` is a program, and a fence `output` behind it what it prints. `{literalinclude}` with a caption is a file that
the reader writes under that name. Whatever else is fenced, and what cannot be run, has a comment above it that says
why: `<!-- not run: REASON -->`, or `not run yet` where what it shows is still to come. A page that begins where another
one ends says so: `<!-- after: tutorial.md -->`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(?P<ticks>`{3,}|:{3,})(?P<info>.*)$")
_NOT_RUN = re.compile(r"^<!-- not run(?P<yet> yet)?: (?P<reason>\S.*) -->$")
_AFTER = re.compile(r"^<!-- after: (?P<page>\S+\.md) -->$", re.M)
# Directives that show nothing a reader could run.
_QUIET = ("{toctree}", "{note}", "{figure}", "{image}", "{warning}")


class UnmarkedError(Exception):
    """A block that is neither run nor says why it is not."""


@dataclass(frozen=True)
class Block:
    """One fence. `line` is that of its first line of content, `reason` why it is not run, now or ever (`when`)."""

    language: str
    text: str
    line: int
    reason: str = ""
    output: str = ""
    file: str = ""  # that a literalinclude shows, from the page
    when: Literal["", "never", "later"] = ""


@dataclass(frozen=True)
class Step:
    """One command of a session, and what it is shown to print."""

    command: str
    output: str
    line: int


@dataclass(frozen=True)
class Page:
    """`name` is from `docs` on, or README.md."""

    name: str
    text: str
    after: str = ""
    blocks: tuple[Block, ...] = field(default=(), compare=False)

    @property
    def run(self) -> list[Block]:
        """What is done in order: files to write, sessions, programs."""
        return [block for block in self.blocks if not block.reason and block.language != "output"]


def pages() -> dict[str, Page]:
    """Every page that somebody wrote, by name."""
    files = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    found = [read_page(file.read_text(encoding="utf-8"), name_of(file)) for file in files]
    return {page.name: page for page in found}


def name_of(file: Path) -> str:
    return str(file.relative_to(DOCS)) if file.is_relative_to(DOCS) else file.name


def read_page(text: str, name: str) -> Page:
    """Raises UnmarkedError on a block that is neither run nor marked."""
    after = _AFTER.search(text)
    return Page(name, text, after["page"] if after else "", tuple(_blocks(text, name)))


def _blocks(text: str, name: str) -> list[Block]:
    lines, found, at = text.splitlines(), list[Block](), 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        end = next((i for i in range(at, len(lines)) if lines[i].rstrip() == fence["ticks"]), None)
        if end is None:
            raise UnmarkedError(f"{name}:{at}: block has no end")
        block = _block(lines, at, end, fence["info"].strip(), name)
        if block is not None and block.language == "output":
            if not found or found[-1].language != "python":
                raise UnmarkedError(f"{name}:{at}: output of nothing: there is no python block before it")
            found[-1] = Block(found[-1].language, found[-1].text, found[-1].line, found[-1].reason, block.text)
        elif block is not None:
            found.append(block)
        at = end + 1
    return found


def _block(lines: list[str], at: int, end: int, info: str, name: str) -> Block | None:
    language, _, argument = info.partition(" ")
    text = "\n".join(lines[at:end])
    if language in _QUIET:
        return None
    marked = _NOT_RUN.match(lines[at - 2].strip()) if at > 1 else None
    if language == "{literalinclude}":
        caption = re.search(r"^:caption: (.+)$", text, re.M)
        if caption is None:
            raise UnmarkedError(f"{name}:{at}: a file without a caption, which would be its name")
        return Block(language, caption[1].strip(), at + 1, file=argument)
    if marked is None and language not in ("console", "python", "output"):
        raise UnmarkedError(f"{name}:{at}: block of {language or 'no language'} is not run, and does not say why")
    if marked is None:
        return Block(language, text, at + 1)
    return Block(language, text, at + 1, marked["reason"], when="later" if marked["yet"] else "never")


def steps(block: Block) -> list[Step]:
    """The commands of a session. Raises UnmarkedError where it does not begin with one."""
    found: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Step(line[2:], "", number))
        elif not found:
            raise UnmarkedError(f"line {number}: a session begins with a command, `$ …`")
        elif (line == ">" or line.startswith("> ")) and not found[-1].output:
            found[-1] = Step(f"{found[-1].command}\n{line[2:]}", "", found[-1].line)
        else:
            found[-1] = Step(found[-1].command, f"{found[-1].output}{line}\n", found[-1].line)
    return found


def fits(shown: str, printed: str) -> bool:
    """Whether a reader sees what a page shows. `...` is any text of a line; on a line of its own, any lines."""
    pattern = ""
    for line in shown.strip("\n").splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(re.escape, line.rstrip().split("..."))) + r"[^\S\n]*\n"
    return re.fullmatch(pattern, printed.strip("\n") + "\n" if printed.strip("\n") else "") is not None
