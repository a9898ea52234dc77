"""Line charts as plain geometry on a logarithmic scale: what the template draws as SVG and nothing else."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paritygate.report.parts import LineChart, Point, Series

WIDTH, HEIGHT = 280, 172
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 26
X_TICKS = 8


@dataclass(frozen=True)
class Dot:
    """`first` is the first of its line that is over its limit."""

    x: float
    y: float
    ok: bool
    title: str
    first: bool = False


@dataclass(frozen=True)
class Line:
    """`path` and `limit` are lists of SVG points; `band` is a closed shape; empty where there is nothing to draw."""

    name: str
    path: str
    band: str
    limit: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Drawing:
    width: int
    height: int
    left: int
    right: int
    bottom: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]

    @property
    def over(self) -> bool:
        """Whether any value is over its limit."""
        return any(not dot.ok for line in self.lines for dot in line.dots)


@dataclass(frozen=True)
class Scale:
    """Where values lie on a chart: whole numbers across, decades of values down."""

    first: int
    last: int
    low: int
    high: int
    width: int = WIDTH
    height: int = HEIGHT

    @classmethod
    def of(cls, across: Iterable[int], values: Iterable[float], width: int = WIDTH, height: int = HEIGHT) -> "Scale":
        """Wide enough for all of them, and never empty."""
        layers, kept = sorted(set(across)) or [0], [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
        low, high = math.floor(math.log10(min(kept))), math.ceil(math.log10(max(kept)))
        return cls(layers[0], max(layers[-1], layers[0] + 1), low, max(high, low + 1), width, height)

    def x(self, value: int) -> float:
        return round(LEFT + (value - self.first) / (self.last - self.first) * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Zero sits on the axis: a value that is exactly right has no place on a logarithmic scale."""
        decade = math.log10(value) if value > 0 else self.low
        share = (min(max(decade, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.height - BOTTOM - share * (self.height - TOP - BOTTOM), 1)

    @property
    def decades(self) -> tuple[tuple[float, str], ...]:
        """At most six of them, each with its place."""
        found = range(self.low, self.high + 1, max(1, math.ceil((self.high - self.low) / 5)))
        return tuple((self.y(10.0**decade), f"1e{decade}") for decade in found)


def draw(chart: LineChart) -> Drawing:
    points = [point for series in chart.series for point in series.points]
    layers = sorted({p.x for p in points})
    scale = Scale.of(layers, (v for p in points for v in (p.value, p.floor, p.bound)))
    step = max(1, math.ceil(len(layers) / X_TICKS))
    return Drawing(
        WIDTH,
        HEIGHT,
        LEFT,
        WIDTH - RIGHT,
        HEIGHT - BOTTOM,
        tuple((scale.x(layer), str(layer)) for layer in layers[::step]),
        scale.decades,
        tuple(_line(series, scale.x, scale.y) for series in chart.series if series.points),
    )


def _line(series: Series, x: Callable[[int], float], y: Callable[[float], float]) -> Line:
    def path(points: list[tuple[float, float]]) -> str:
        return " ".join(f"{px},{py}" for px, py in points)

    banded = [p for p in series.points if p.floor > 0 and p.bound > 0]
    bounded = [p for p in series.points if p.bound > 0]
    over = next((p for p in series.points if not p.ok), None)
    upper, lower = [(x(p.x), y(p.bound)) for p in banded], [(x(p.x), y(p.floor)) for p in banded]
    return Line(
        series.name,
        path([(x(p.x), y(p.value)) for p in series.points]),
        path(upper + lower[::-1]),
        path([(x(p.x), y(p.bound)) for p in bounded]),
        tuple(Dot(x(p.x), y(p.value), p.ok, _title(series.name, p), p is over) for p in series.points),
    )


def _title(name: str, point: Point) -> str:
    said = f"layer {point.x}, {name}: {point.value:.3g}"
    said += f", floor {point.floor:.3g}" if point.floor else ""
    return said + (f", limit {point.bound:.3g}" if point.bound else "")
