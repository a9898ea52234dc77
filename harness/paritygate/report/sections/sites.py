"""One page a site: every port, cell and mode with metrics, floors, limits, verdict, diagnosis and worst elements."""

from paritygate.core.drift import Row
from paritygate.report.commands import templates
from paritygate.report.data import ReportData, failing, root, row_nearness, within_budget, worst
from paritygate.report.parts import Item, Part, Section, SitePage, SitePages, Tone
from paritygate.report.said import said
from paritygate.report.squares import share_words
from paritygate.report.words import count


def build(data: ReportData) -> list[Part]:
    if not data.rows:
        return []
    pages = tuple(_page(data, site) for site in data.sites)
    info = data.info
    return [SitePages(pages, data.cases, data.places, data.cell_labels, templates(info), said(data), info.rising)]


def _page(data: ReportData, site: str) -> SitePage:
    rows = data.rows_of_site[site]
    return SitePage(site, data.anchors[site], _note(rows), tuple(rows))


def _note(rows: list[Row]) -> Item:
    failures = sum(map(failing, rows))
    if not failures:
        said, within = [f"{count(len(rows))} rows"], within_budget(rows)
        if len(within) < len(rows):
            said.append(f"{count(len(rows) - len(within))} over budget and accepted in the baseline")
        said += [f"{share_words(row_nearness(near))} of the limit" for near in worst(within, 1)]
        return Item(", ".join(said), Tone.MUTED)
    words = f"{count(failures)} of {count(len(rows))} rows are not a pass"
    return Item(words if any(map(root, rows)) else f"{words}, all propagated", Tone.BAD)


SECTION = Section("sites", 50, "Sites", build)
