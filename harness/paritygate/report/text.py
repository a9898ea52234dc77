"""The sections as text for a terminal: the same parts as the HTML, in columns, with letters where HTML has colours."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache

from paritygate.report.assemble import assemble
from paritygate.report.data import ReportData, failing, root, worst
from paritygate.report.parts import (
    Banner,
    Bars,
    Column,
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
    SitePage,
    SitePages,
    Strip,
    Table,
    Text,
    Tone,
)
from paritygate.report.row_parts import row_parts
from paritygate.report.words import number, times

ANSI = {Tone.GOOD: "32", Tone.WARN: "33", Tone.BAD: "31;1", Tone.MUTED: "2", Tone.PLAIN: "", Tone.CODE: ""}
ROWS_A_SITE = 3
ADDRESS_PART = re.compile(r"[^\s.:/]*[.:/]|[^\s.:/]+")  # `layers.`, `3.`, `attn:`, `out`
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render_text(data: ReportData, sections: Sequence[str] | None = None, width: int = 100, color: bool = False) -> str:
    """The sections (all, or those named) in at most `width` columns, with ANSI colours where `color` says so."""
    blocks: list[str] = []
    for section, parts in assemble(data, sections):
        lines = render_parts(parts, width, color)
        title = [] if section.name == "verdict" else [section.title.upper()]
        blocks += ["\n".join(title + lines)] if lines else []
    return "\n\n".join(blocks) + "\n"


def render_parts(parts: Sequence[Part], width: int = 100, color: bool = False) -> list[str]:
    """Lines of the parts."""
    lines: list[str] = []
    for part in parts:
        lines += _Page(width, color).lines(part)
    return [line.rstrip() for line in lines]


class _Page:
    def __init__(self, width: int, color: bool):
        self.width, self.color = max(width, 40), color

    def plain(self, text: str) -> str:
        """A text that cannot give orders to the terminal. Every text goes through here or through `paint`."""
        return CONTROL.sub("?", text)

    def paint(self, text: str, tone: Tone) -> str:
        text = self.plain(text)
        return f"\x1b[{ANSI[tone]}m{text}\x1b[0m" if self.color and ANSI[tone] and text.strip() else text

    def lines(self, part: Part) -> list[str]:
        match part:
            case Heading():
                return ["", self.plain(part.text)]
            case Text():
                return [self.paint(line, part.tone) for line in textwrap.wrap(part.text, self.width)]
            case Preformatted():
                return [self.plain(line) for line in part.text.splitlines()]
            case Banner():
                word = self.paint(part.word, part.tone)
                rest = [line for text in part.lines for line in textwrap.wrap(text, self.width)]
                return [f"{word}  {self.plain(part.sentence)}", *map(self.plain, rest)]
            case Figures():
                said = " · ".join(f"{figure} {label}" for label, figure in part.figures)
                return textwrap.wrap(self.plain(said), self.width)
            case KeyValues():
                return self.pairs(part)
            case Table():
                return self.table(part)
            case HeatMap():
                return self.heat_map(part)
            case LineChart():
                return self.chart(part)
            case Bars():
                return self.bars(part)
            case Grid():
                return [line for inner in part.parts for line in self.lines(inner)]
            case Details():
                head = self.paint(part.summary.text, part.summary.tone)
                inner = _Page(self.width - 2, self.color)
                return ["", head, *(f"  {line}" for value in part.parts for line in inner.lines(value))]
            case Strip() | RowTable():
                return []  # what a reader filters and sorts; the terminal says the same in other sections
            case RowInFull():
                return [line for inner in part.parts for line in self.lines(inner)]
            case SitePages():
                return [line for page in part.pages for line in self.site(page)]

    def pairs(self, part: KeyValues) -> list[str]:
        left = max((len(key) for key, _ in part.pairs), default=0)
        lines = []
        for key, item in part.pairs:
            wrapped = textwrap.wrap(item.text, max(self.width - left - 2, 20), break_on_hyphens=False) or [""]
            lines.append(f"{self.plain(key):<{left}}  {self.paint(wrapped[0], item.tone)}")
            lines += [" " * (left + 2) + self.paint(more, item.tone) for more in wrapped[1:]]
        return lines

    def table(self, part: Table) -> list[str]:
        """Columns with nothing in them are left out; nothing is cut off: cells that are too wide are wrapped."""
        columns = [part.columns[i] for i in part.kept]
        rows = [[row[i] for i in part.kept] for row in part.rows]
        widths = self.fit(columns, rows)
        lines = self.line([Item(c.title, Tone.MUTED) for c in columns], widths, columns)
        for row in rows:
            lines += self.line(row, widths, columns)
        return lines + ([self.paint(part.caption, Tone.MUTED)] if part.caption else [])

    def fit(self, columns: list[Column], rows: list[list[Item]]) -> list[int]:
        """Widths of columns such that a line fits, if it can, without cutting a word, and rows stay low.

        Narrows one column at a time: the one that adds fewest lines to the table, of those the one with most to spare.
        Addresses are broken at their dots, and prose gets narrower than it asks for, only where nothing else helps.
        """
        texts = [[column.title, *(row[i].text for row in rows)] for i, column in enumerate(columns)]
        words = [_longest(map(str.split, of_column)) for of_column in texts]
        asked = [max(w, min(c.least, max(map(len, t)))) for w, c, t in zip(words, columns, texts, strict=True)]
        codes = [all(row[i].tone is Tone.CODE for row in rows if row[i].text) for i, _ in enumerate(columns)]
        parts = [_longest(map(ADDRESS_PART.findall, of_column)) for of_column in texts]
        widths = [max([low, *map(len, t[1:])]) for low, t in zip(words, texts, strict=True)]

        @cache
        def heights(column: int, width: int) -> list[int]:
            return [len(_wrap(text, width)) for text in texts[column]]

        def total(narrowed: int) -> int:
            each = [heights(i, width - (i == narrowed)) for i, width in enumerate(widths)]
            return sum(map(max, zip(*each, strict=True)))

        for prose in (asked, words):
            for least in (prose, [p if code else w for p, w, code in zip(parts, prose, codes, strict=True)]):
                while sum(widths) + 2 * (len(widths) - 1) > self.width:
                    spare = [i for i, width in enumerate(widths) if width > least[i]]
                    if not spare:
                        break
                    widths[min(spare, key=lambda i: (total(i), least[i] - widths[i]))] -= 1
        return widths

    def line(self, row: Sequence[Item], widths: list[int], columns: list[Column]) -> list[str]:
        """One row of a table, as many lines as its tallest cell has."""
        lines, cells = [], []
        for item, width in zip(row, widths, strict=True):
            cells.append(_wrap(item.text, width))
        for i in range(max(map(len, cells), default=0)):
            shown = [cell[i] if i < len(cell) else "" for cell in cells]
            aligned = [
                text.rjust(width) if column.align == "right" else text.ljust(width)
                for text, width, column in zip(shown, widths, columns, strict=True)
            ]
            aligned[-1] = aligned[-1].rstrip()
            lines.append("  ".join(self.paint(text, item.tone) for text, item in zip(aligned, row, strict=True)))
        return lines

    def heat_map(self, part: HeatMap) -> list[str]:
        titles = (f"{group} {label[:3]}" for group, label in part.columns)
        columns = (Column("site"), *(Column(title, "right") for title in titles))
        tones = {"pass": Tone.PLAIN, "empty": Tone.MUTED, "fail": Tone.BAD, "propagated": Tone.WARN}
        rows = []
        for row in part.rows:
            line = [Item(row.label)]
            for square in row.squares:
                mark = square.mark.lower() if square.state == "propagated" else square.mark
                line.append(Item(f"{mark} {square.text}".strip() or "–", tones[square.state]))
            rows.append(tuple(line))
        downstream = any(square.state == "propagated" for row in part.rows for square in row.squares)
        note = part.caption + (" · small letter: downstream of what is to blame" if downstream else "")
        return [*self.table(Table(columns, tuple(rows))), *textwrap.wrap(note, self.width)]

    def chart(self, part: LineChart) -> list[str]:
        columns = (Column(part.x_label, "right"), *(Column(s.name, "right") for s in part.series))
        layers = sorted({point.x for series in part.series for point in series.points})
        rows = []
        for layer in layers:
            line = [Item(str(layer))]
            for series in part.series:
                point = next((p for p in series.points if p.x == layer), None)
                if point is None:
                    line.append(Item("–", Tone.MUTED))
                    continue
                against = f"limit {number(point.bound)}"
                if point.floor:
                    against = f"{times(point.value / point.floor)} the floor"
                line.append(Item(f"{number(point.value)} ({against})", Tone.PLAIN if point.ok else Tone.BAD))
            rows.append(tuple(line))
        return [self.plain(f"{part.title}, {part.y_label}"), *self.table(Table(columns, tuple(rows)))]

    def bars(self, part: Bars) -> list[str]:
        left = max((len(bar.label) for bar in part.bars), default=0)
        room = max(self.width - left - 2 - max((len(bar.text) for bar in part.bars), default=0) - 2, 8)
        lines = [f"{bar.label:<{left}}  {'█' * round(bar.share * room) or '▏'} {bar.text}" for bar in part.bars]
        return ["", self.plain(part.title), *map(self.plain, lines), *textwrap.wrap(part.caption, self.width)]

    def site(self, page: SitePage) -> list[str]:
        """A line a site; the worst rows that fail by themselves in full."""
        lines = [f"{self.plain(page.site)}  {self.paint(page.note.text, page.note.tone)}"]
        by_itself = worst(filter(root, page.rows), ROWS_A_SITE)
        inner = _Page(self.width - 4, self.color)
        for row in by_itself:
            drift = row.drift
            lines.append(self.plain(f"  {drift.address}  {drift.case}  {drift.cell}  {drift.mode}"))
            lines += [f"    {line}" for part in row_parts(row) for line in inner.lines(part)]
        more = sum(map(failing, page.rows)) - len(by_itself)
        return lines + ([f"  and {more} more that are not a pass"] if by_itself and more else [])


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width`, broken at spaces; a word that is wider, an address, behind its dots and colons."""
    pieces: list[str] = []
    for word in text.split() if max(map(len, text.split()), default=0) > width else [text]:
        if len(word) <= width or " " in word:
            pieces.append(word)
            continue
        line = ""
        for part in ADDRESS_PART.findall(word):
            if line and len(line) + len(part) > width:
                pieces.append(line)
                line = ""
            line += part
        pieces.append(line)
    return textwrap.wrap(" ".join(pieces), width, break_on_hyphens=False) or [""]


def _longest(texts: Iterable[list[str]]) -> int:
    return max((len(word) for words in texts for word in words), default=1)
