"""Every row of the run in one table, to sort, filter and export. The page's script draws it; a terminal has `show`."""

from paritygate.report.data import ReportData
from paritygate.report.parts import Part, RowTable, Section


def build(data: ReportData) -> list[Part]:
    return [RowTable(len(data.rows))] if data.rows else []


SECTION = Section("table", 35, "Rows", build)
