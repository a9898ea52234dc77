"""Drift against depth: rel-L2 of each layer's output, isolated and chained, over the band from floor to limit."""

import re
from collections import defaultdict

from paritygate.core.drift import Row
from paritygate.report.data import ReportData, failing
from paritygate.report.parts import Details, Grid, Item, LineChart, Part, Point, Section, Series, Text, Tone
from paritygate.report.words import bound

METRIC = "rel_l2"
LAYER = re.compile(r"^(?P<stack>.*?\.)?(?P<layer>\d+)(?P<inside>\..+)?$")


def build(data: ReportData) -> list[Part]:
    outputs = layer_outputs(data.rows)
    parts: list[Part] = []
    for case in data.cases:
        charts = []
        stacks = dict.fromkeys(stack for key in outputs if key[0] == case for stack in outputs[key])
        for stack in stacks:
            for cell in dict.fromkeys(cell for cell, _ in data.places):
                modes = [mode for c, mode in data.places if c == cell]
                layers = [outputs.get((case, cell, mode), {}).get(stack, {}) for mode in modes]
                series = tuple(Series(mode, _points(of_mode)) for mode, of_mode in zip(modes, layers, strict=True))
                if any(s.points for s in series):
                    title = f"{cell} {stack}" if len(stacks) > 1 else cell
                    charts.append(LineChart(title, "layer", METRIC, series))
        if charts:
            bad = any(not point.ok for chart in charts for s in chart.series for point in s.points)
            summary = Item(case, Tone.BAD if bad else Tone.PLAIN)
            unfolded = "open" if bad or not parts else "closed"
            parts.append(Details(summary, (Grid(tuple(charts)),), unfolded=unfolded))
    if parts:
        note = (
            f"{METRIC} of each layer's output. The band runs from the noise floor, which is the drift of the reference "
            "in that dtype, up to the limit. Isolated: the layer gets its golden input. Chained: the drift of all "
            "layers before it adds up."
        )
        parts.insert(0, Text(note, Tone.MUTED))
    return parts


def layer_outputs(rows: tuple[Row, ...]) -> dict[tuple[str, str, str], dict[str, dict[int, Row]]]:
    """(case, cell, mode) → stack of layers, by what stands before the number → layer → the row of its output.

    The site whose name ends with the layer's number says it; where there is none, the last output inside the layer.
    """
    ranked: dict[tuple[str, str, str, str, int], tuple[tuple[bool, int], Row]] = {}
    for row in rows:
        drift, match = row.drift, LAYER.match(row.drift.site)
        if match is None or not drift.port.startswith("out") or METRIC not in drift.metrics:
            continue
        key = (drift.case, drift.cell, drift.mode, (match["stack"] or "").rstrip("."), int(match["layer"]))
        rank = (match["inside"] is None, drift.order)
        if key not in ranked or rank > ranked[key][0]:
            ranked[key] = (rank, row)
    found: dict[tuple[str, str, str], dict[str, dict[int, Row]]] = defaultdict(dict)
    for (case, cell, mode, stack, layer), (_, row) in sorted(ranked.items(), key=lambda item: item[0]):
        found[case, cell, mode].setdefault(stack, {})[layer] = row
    return found


def _points(layers: dict[int, Row]) -> tuple[Point, ...]:
    points = []
    for layer, row in layers.items():
        judged = next((j for j in row.judgements if j.metric == METRIC), None)
        floor, limit = (judged.floor, bound(judged)) if judged else (0.0, 0.0)
        points.append(Point(layer, row.drift.metrics[METRIC], floor, limit, not failing(row)))
    return tuple(points)


SECTION = Section("depth", 40, "Drift against depth", build)
