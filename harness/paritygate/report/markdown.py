"""The sections as GitHub's Markdown, for a comment or a step summary: the verdict first, details folded, in a limit.

Names come from runs, and a run may be of anybody's pull request: none can start a link, a mention, a tag or a table.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paritygate.report.assemble import assemble
from paritygate.report.data import ReportData
from paritygate.report.parts import (
    Banner,
    Bars,
    Details,
    Figures,
    Grid,
    Heading,
    HeatMap,
    Item,
    KeyValues,
    LineChart,
    Part,
    Preformatted,
    RowInFull,
    RowTable,
    SitePages,
    Strip,
    Table,
    Text,
    Tone,
)

COMMENT_BYTES = 65_000  # GitHub takes comments of up to 65,536 characters
SUMMARY_BYTES = 1024 * 1024  # of one step's summary

TABLE_ROWS = 40
TEXT_CHARACTERS = 600
PREFORMATTED_CHARACTERS = 4_000

FOLDED = ("baseline", "coverage", "precision", "programs", "decisions", "compilations", "provenance")

# What may be left out, first to last. The verdict, both gates and the next command never are.
LEFT_OUT_FIRST = (
    "provenance", "decisions", "programs", "precision", "coverage", "baseline", "compilations", "rows", "evidence",
    "divergence",
)  # fmt: skip

# Inside a word, - and _ are only themselves, and so is a colon at its end.
_PLAIN = re.compile(r"[A-Za-z0-9 ,;.%=?/'\"()…×→·–ρ±≤≥−]|(?<=[A-Za-z0-9])[-_](?=[A-Za-z0-9])|(?<=[A-Za-z0-9]):(?= |$)")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_BREAK = "\u200b"  # a space of no width: it keeps GitHub from making a link or a mention of what it stands in
_LINKED = re.compile(r"(?<=@)(?=\S)|(?<=#)(?=\d)|(?<=://)|(?<=www)(?=\.)|(?<=GH-)(?=\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """A piece that is kept whole or left out. `folded` is what it is called where a reader has to open it."""

    name: str
    text: str
    folded: str = ""

    def __str__(self) -> str:
        if not self.folded:
            return self.text
        return f"<details><summary>{escaped(self.folded)}</summary>\n\n{self.text}\n\n</details>"


def render_markdown(data: ReportData, next_command: str = "", limit: int = COMMENT_BYTES) -> str:
    """At most `limit` bytes, of which the verdict, both gates and the next command are always a part."""
    return fitting(blocks(data, next_command), limit)


def fitting(blocks: Sequence[Block], limit: int) -> str:
    """Leaves blocks out, in the order of `LEFT_OUT_FIRST`, until the rest fits, and says which."""
    kept = list(blocks)
    left: list[str] = []
    text = _joined(kept, left)
    for name in LEFT_OUT_FIRST:
        if len(text.encode()) <= limit:
            break
        left += [block.folded or "First divergence" for block in kept if block.name == name]
        kept = [block for block in kept if block.name != name]
        text = _joined(kept, left)
    return text


def _joined(blocks: Sequence[Block], left: Sequence[str]) -> str:
    return "\n\n".join([*map(str, blocks), *_note(left)]) + "\n"


def _note(left: Sequence[str]) -> list[str]:
    return [f"*Left out for want of room: {', '.join(map(escaped, left))}. The report has it all.*"] if left else []


def blocks(data: ReportData, next_command: str = "") -> list[Block]:
    """In the order in which they are read."""
    return list(_blocks(data, next_command))


def _blocks(data: ReportData, next_command: str) -> Iterable[Block]:
    wanted = ("verdict", "divergence", *FOLDED)
    sections = {section.name: (section.title, parts) for section, parts in assemble(data, wanted)}
    verdict = list(sections["verdict"][1])
    end = next((i for i, part in enumerate(verdict) if isinstance(part, Heading)), len(verdict))
    yield Block("verdict", _markdown(verdict[:end]))
    divergence = list(sections["divergence"][1]) if "divergence" in sections else []
    begin = next((i for i, part in enumerate(divergence) if isinstance(part, Heading | Details)), len(divergence))
    if divergence:
        yield Block("divergence", "### First divergence\n\n" + _markdown(divergence[:begin]))
    if next_command:
        yield Block("next", f"**Next** {code(next_command)}")
    if divergence[begin:]:
        yield Block("evidence", _markdown(divergence[begin:]), "Evidence and lines to blame")
    if verdict[end:]:
        yield Block("rows", _markdown(verdict[end:]), "Cells and rows that need a reader")
    for name in FOLDED:
        if name in sections:
            title, parts = sections[name]
            yield Block(name, _markdown(parts), title)


def _markdown(parts: Iterable[Part]) -> str:
    return "\n\n".join(filter(None, map(_part, parts)))


def _part(part: Part) -> str:
    match part:
        case Banner():
            return "\n\n".join([f"## {escaped(part.word)}: {escaped(part.sentence)}", *map(escaped, part.lines)])
        case Heading():
            return f"**{escaped(part.text)}**"
        case Text():
            return escaped(part.text)
        case Preformatted():
            return f"<pre>{_entities(part.text[:PREFORMATTED_CHARACTERS], kept='')}</pre>"
        case Figures():
            return " · ".join(f"{escaped(figure)} {escaped(label)}" for label, figure in part.figures)
        case KeyValues():
            return "\n".join(f"- {escaped(key)}: {_item(item)}" for key, item in part.pairs)
        case Table():
            return _table(part)
        case Details():
            return f"<details><summary>{_item(part.summary)}</summary>\n\n{_markdown(part.parts)}\n\n</details>"
        case Grid():
            return _markdown(part.parts)
        case Bars():
            lines = [f"- {escaped(bar.label)}: {escaped(bar.text)}" for bar in part.bars]
            return "\n".join([f"**{escaped(part.title)}**", "", *lines])
        case RowInFull():
            return _markdown(part.parts)
        case HeatMap() | LineChart() | SitePages() | Strip() | RowTable():
            return ""  # pictures and filters: the report has them


def _table(part: Table) -> str:
    """Columns with nothing in them are left out; of many rows the first are shown."""
    kept = part.kept
    if not part.rows or not kept:
        return ""
    lines = [
        _line(escaped(part.columns[i].title) for i in kept),
        _line("--:" if part.columns[i].align == "right" else "---" for i in kept),
        *(_line(_item(row[i]) for i in kept) for row in part.rows[:TABLE_ROWS]),
    ]
    more = [f"And {len(part.rows) - TABLE_ROWS:,} more."] * (len(part.rows) > TABLE_ROWS)
    return "\n".join(lines) + "".join(f"\n\n{escaped(text)}" for text in (*more, part.caption) if text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _item(item: Item) -> str:
    if not item.text:
        return ""
    text = code(item.text) if item.tone is Tone.CODE else escaped(item.text)
    return f"**{text}**" if item.tone is Tone.BAD else text


def code(text: str) -> str:
    """Text in the type of code. Not between backticks, which a name may hold."""
    return f"<code>{escaped(text)}</code>"


def escaped(text: str) -> str:
    """One line of text that is nothing but text, whatever it holds."""
    text = " ".join(text.split())
    if len(text) > TEXT_CHARACTERS:
        text = text[: TEXT_CHARACTERS - 1] + "…"
    return _entities(text, kept=" ")


def _entities(text: str, kept: str) -> str:
    """Every character that Markdown or HTML could take for theirs as an entity, which neither reads as markup."""
    text = "".join("?" if unicodedata.category(c) in _INVISIBLE and c not in "\n\t" else c for c in text)
    text = _LINKED.sub(_BREAK, text)
    return "".join(
        c
        if c in kept or c in (_BREAK, "\n") or _PLAIN.match(text, i) or (c.isalpha() and ord(c) > 127)
        else f"&#{ord(c)};"
        for i, c in enumerate(text)
    )
