"""Where the drift is: every site against every cell and mode, by the worst ratio to its limit over all cases."""

from paritygate.core.drift import Row
from paritygate.report.data import ReportData
from paritygate.report.parts import HeatMap, HeatRow, Part, Section
from paritygate.report.squares import square
from paritygate.report.words import ACCEPTED, MARKS, verdict_words


def build(data: ReportData) -> list[Part]:
    if not data.rows:
        return []
    rows = []
    for site in data.sites:
        here: dict[tuple[str, str], list[Row]] = {}
        for row in data.rows_of_site[site]:
            here.setdefault((row.drift.cell, row.drift.mode), []).append(row)
        rows.append(HeatRow(site, data.anchors[site], tuple(square(here.get(place, [])) for place in data.places)))
    columns = tuple((data.cell_labels[cell], mode) for cell, mode in data.places)
    letters = [f"{mark} {verdict_words(verdict)}" for verdict, mark in MARKS.items() if data.verdicts[verdict]]
    letters += [f"{ACCEPTED} accepted in the baseline"] if any(row.accepted for row in data.rows) else []
    caption = "Worst value over all cases, as a share of its limit: 1 is at the limit. " + " · ".join(letters)
    return [HeatMap(columns, tuple(rows), caption)]


SECTION = Section("heatmap", 30, "Sites × cells", build)
