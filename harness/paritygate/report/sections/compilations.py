"""Passes compiled for devices that need not be there: do they fit, what do they send, how fast can they be."""

from paritygate.report.data import ReportData
from paritygate.report.parts import Details, Item, Part, Section


def build(data: ReportData) -> list[Part]:
    if not data.compilations:
        return []
    from paritygate.report.compilation import parts_of, summary_table  # `report` of a replay starts without

    each = [Details(Item(f"{one.order.name}  {one.cell}"), tuple(parts_of(one))) for one in data.compilations]
    return [summary_table(data.compilations), *each]


SECTION = Section("compilations", 47, "Compiled for devices that need not be here", build)
