"""Builds the sections of a report, for any renderer: found by walking `report/sections`, shown by their order."""

from collections.abc import Sequence

from paritygate.core.errors import unknown_name
from paritygate.core.registry import discover
from paritygate.report.data import ReportData
from paritygate.report.parts import Part, Section


def sections() -> list[Section]:
    return sorted(discover("paritygate.report.sections", "SECTION", Section).values(), key=lambda s: (s.order, s.name))


def assemble(data: ReportData, names: Sequence[str] | None = None) -> list[tuple[Section, list[Part]]]:
    """The sections that have something to say, or those of them in `names`; raises UsageError on an unknown name."""
    found = sections()
    known = [section.name for section in found]
    for name in names or ():
        if name not in known:
            raise unknown_name("section", name, known)
    built = [(section, list(section.build(data))) for section in found if names is None or section.name in names]
    return [(section, parts) for section, parts in built if parts]
