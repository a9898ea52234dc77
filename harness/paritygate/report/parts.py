"""The parts that a section is made of: a small typed tree that knows neither HTML nor a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from paritygate.core.drift import Row
from paritygate.report.commands import Command

if TYPE_CHECKING:
    from paritygate.report.data import ReportData


class Tone(StrEnum):
    """What a text means; every renderer has one look for each."""

    PLAIN = ""
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    MUTED = "muted"
    CODE = "code"


@dataclass(frozen=True)
class Item:
    """A text with a tone, and maybe the anchor of the place in this report that says more.

    `row` is the key of a row (`ReportData.link`), which the page opens in the place of the anchor.
    """

    text: str
    tone: Tone = Tone.PLAIN
    anchor: str = ""
    row: str = ""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Preformatted:
    text: str


@dataclass(frozen=True)
class Banner:
    """The answer in one look: a word, a sentence, and what to do next."""

    word: str
    sentence: str
    tone: Tone
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """Single numbers with a label each: rows compared, wall time, ..."""

    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class KeyValues:
    pairs: tuple[tuple[str, Item], ...]


@dataclass(frozen=True)
class Column:
    """`least` is the width in characters below which prose is no longer pleasant to read."""

    title: str
    align: Literal["left", "right"] = "left"
    least: int = 0


PROSE = 24


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Item, ...], ...]
    caption: str = ""

    @property
    def kept(self) -> list[int]:
        """The columns to show: those that have something in them."""
        return [i for i, _ in enumerate(self.columns) if not self.rows or any(row[i].text for row in self.rows)]


State = Literal["pass", "propagated", "fail"]  # of a row: propagated is failing because of another, fail is to blame


@dataclass(frozen=True)
class Square:
    """One place of a heat map: `level` 0 (far below the limit) to 6 (at it), `mark` a letter for what is not a pass."""

    text: str
    level: int
    state: State | Literal["empty"]
    mark: str = ""
    title: str = ""


@dataclass(frozen=True)
class HeatRow:
    label: str
    anchor: str
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class HeatMap:
    """`columns` are (group, label): columns that follow each other in one group share a heading."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    caption: str


@dataclass(frozen=True)
class Point:
    """A value over `x`, with its noise floor and the bound it has to stay under (0 where there is none)."""

    x: int
    value: float
    floor: float
    bound: float
    ok: bool


@dataclass(frozen=True)
class Series:
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LineChart:
    """Values over a whole number, on a logarithmic scale, each series with its band from noise floor to bound."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Bar:
    """`share` is its length, from 0 to 1; `text` the number that it stands for."""

    label: str
    share: float
    text: str


@dataclass(frozen=True)
class Bars:
    title: str
    bars: tuple[Bar, ...]
    caption: str = ""


@dataclass(frozen=True)
class Grid:
    """Parts side by side where there is room."""

    parts: "tuple[Part, ...]"


@dataclass(frozen=True)
class Details:
    """Parts that a reader unfolds."""

    summary: Item
    parts: "tuple[Part, ...]"
    anchor: str = ""
    unfolded: Literal["open", "closed"] = "closed"


@dataclass(frozen=True)
class SitePage:
    """All rows of one site. HTML packs them and draws them when the page is opened; text prints the failing ones."""

    site: str
    anchor: str
    note: Item
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SitePages:
    """`places` are (cell, mode), and `labels` the short names of the cells, in the order of the run, as `cases` are.

    `commands` are templates of what to type next about a row; `said` is what was found out about single ones, by key;
    `rising` are the metrics of which more is better.
    """

    pages: tuple[SitePage, ...]
    cases: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    labels: Mapping[str, str]
    commands: tuple[Command, ...] = ()
    said: "Mapping[tuple[str, str, str, str, str, int], tuple[Part, ...]]" = field(default_factory=dict)
    rising: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowInFull:
    """A row that the page's script draws in full, in the place of its parts."""

    row: Row
    parts: "tuple[Part, ...]"


@dataclass(frozen=True)
class Facet:
    """How many rows have one value of a column: a filter of the page."""

    column: Literal["verdict", "diagnosis"]
    value: str
    count: int
    tone: Tone


@dataclass(frozen=True)
class Strip:
    """The counts of a run, by which the page filters everything below. A terminal has them in its table of cells."""

    facets: tuple[Facet, ...]


@dataclass(frozen=True)
class RowTable:
    """The place of the table of all rows, which the page's script draws. A terminal has `show` for it."""

    rows: int


Part = (
    Heading
    | Text
    | Preformatted
    | Banner
    | Figures
    | KeyValues
    | Table
    | HeatMap
    | LineChart
    | Bars
    | Grid
    | Details
    | SitePages
    | Strip
    | RowTable
    | RowInFull
)


@dataclass(frozen=True)
class Section:
    """One section of the report. Sections are shown by `order`; `build` may return nothing, and is then left out."""

    name: str
    order: int
    title: str
    build: "Callable[[ReportData], Sequence[Part]]"
