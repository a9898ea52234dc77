"""The charts of the pages as geometry, on the scale of the report's: what templates draw as SVG, and nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paritygate.report.chart import BOTTOM, LEFT, RIGHT, TOP, Scale
from paritygate.report.words import times
from paritygate.service.words import tone, url, words

if TYPE_CHECKING:
    from paritygate.service.history import Point
    from paritygate.service.pages.history import HistoryView
    from paritygate.service.summaries import RunSummary

HISTORY_WIDTH, HISTORY_HEIGHT = 1000, 300
BAR, BAR_GAP, STRIP_HEIGHT, LEAST = 7, 2, 30, 3
TICKS = 12


@dataclass(frozen=True)
class StripBar:
    x: int
    y: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True)
class Strip:
    """Runs side by side, the oldest first: a bar each, the higher the more of its rows are not a pass."""

    width: int
    height: int
    label: str
    bars: tuple[StripBar, ...]


def strip_of(newest: Sequence["RunSummary"]) -> Strip:
    """One that passes is a stump, and a single row that does not is seen."""
    bars, runs = [], newest[::-1]
    passed = sum(run.verdict == "pass" for run in runs)
    for i, run in enumerate(runs):
        share = math.log1p(run.failed) / math.log1p(max(run.rows, run.failed, 1))
        height = LEAST if run.verdict == "pass" else round(LEAST + 4 + share * (STRIP_HEIGHT - LEAST - 4), 1)
        title = f"#{run.number} {run.suite}: {run.verdict}"
        title += f", {run.failed:,} of {run.rows:,} not a pass" if run.failed else ""
        bars.append(StripBar(i * (BAR + BAR_GAP), round(STRIP_HEIGHT - height, 1), height, tone(run.verdict), title))
    label = f"the last {len(runs)} runs, oldest first: {passed} passed, {len(runs) - passed} did not"
    return Strip(max(len(runs) * (BAR + BAR_GAP) - BAR_GAP, 1), STRIP_HEIGHT, label, tuple(bars))


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    look: str  # pass, fail, none
    title: str
    href: str


@dataclass(frozen=True)
class Leap:
    """A step between two places: a line from `x1, y1` to `x2, y2`, and its number over it."""

    number: int
    x1: float
    y1: float
    x2: float
    y2: float
    worse: bool
    middle: float


@dataclass(frozen=True)
class HistoryDrawing:
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    limit: float
    lines: tuple[str, ...]
    dots: tuple[Dot, ...]
    leaps: tuple[Leap, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    label: str


def history_of(shown: "HistoryView", project: str) -> HistoryDrawing:
    """The share of its budget that a row used, run by run. What has no number stands at the upper edge, and breaks the
    line; steps are numbered in their order."""
    points = shown.points
    shares = [point.share for point in points if point.share is not None and math.isfinite(point.share)]
    scale = Scale.of(range(len(points)), [*shares, 1.0, 0.1], HISTORY_WIDTH, HISTORY_HEIGHT)
    dots = [_dot(point, scale, i, project) for i, point in enumerate(points)]
    placed = {point.run: dot for point, dot in zip(points, dots, strict=True)}
    leaps = []
    for number, step in enumerate(shown.steps, 1):
        a, b = placed[step.before.run], placed[step.after.run]
        leaps.append(Leap(number, a.x, a.y, b.x, b.y, step.worse, round((a.x + b.x) / 2, 1)))
    every = max(1, math.ceil(len(points) / TICKS))
    ticks = [(dot.x, f"#{point.number}") for dot, point in zip(dots, points, strict=True)]
    decades = tuple((y, times(10.0 ** int(label[2:]))) for y, label in scale.decades)
    label = (
        f"share of the budget over {len(points)} runs, at most {times(max(shares, default=0.0))}; {len(leaps)} steps"
    )
    return HistoryDrawing(
        HISTORY_WIDTH, HISTORY_HEIGHT, LEFT, HISTORY_WIDTH - RIGHT, TOP, HISTORY_HEIGHT - BOTTOM, scale.y(1.0),
        _lines(points, dots), tuple(dots), tuple(leaps), tuple(ticks[::-1][::every][::-1]), decades, label,
    )  # fmt: skip


def _dot(point: "Point", scale: Scale, place: int, project: str) -> Dot:
    number = "no number" if point.share is None else f"{times(point.share)} of its limit"
    title = f"#{point.number}: {words(point.verdict)}, {number}" + f", {point.commit[:10]}" * bool(point.commit)
    look = "pass" if point.verdict == "pass" else "none" if point.verdict == "skipped" else "fail"
    y = float(TOP + 22) if point.share is None else scale.y(point.share)
    return Dot(scale.x(place), y, look, title, url("projects", project, "runs", point.run))


def _lines(points: Sequence["Point"], dots: Sequence[Dot]) -> tuple[str, ...]:
    """The stretches between places that have a number."""
    found: list[list[str]] = [[]]
    for point, dot in zip(points, dots, strict=True):
        if point.share is None:
            found.append([])
        else:
            found[-1].append(f"{dot.x},{dot.y}")
    return tuple(" ".join(stretch) for stretch in found if len(stretch) > 1)
