"""What the compiled programs of several devices exchange: what was not recorded first, then bytes by cell and axis."""

from collections import defaultdict

from paritygate.report.data import ReportData
from paritygate.report.parts import PROSE, Column, Item, Part, Section, Table, Text, Tone


def build(data: ReportData) -> list[Part]:
    parts: list[Part] = []
    changes = data.program_changes.changes
    if changes:
        tones = {"fails": Tone.BAD, "told": Tone.WARN}
        rows = ((Item(each.name), Item(each.cell), Item(each.what, tones[each.weight])) for each in changes)
        parts.append(Table((Column("program"), Column("cell"), Column("change", least=PROSE)), tuple(rows)))
    if data.programs:
        parts += [Text("What each pass makes one device receive, a loop of unknown turns counted once."), _table(data)]
    return parts


def _table(data: ReportData) -> Table:
    found: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for program in data.programs:
        for each in program.collectives:
            total = found[program.name, program.cell, each.kind, each.axes]
            total[0] += each.count * max(each.turns, 1)
            total[1] += each.count * max(each.turns, 1) * each.bytes
    rows = ((*map(Item, key), Item(f"{count:,}"), Item(f"{size:,}")) for key, (count, size) in sorted(found.items()))
    columns = ("program", "cell", "collective", "axes")
    return Table((*map(Column, columns), Column("number", "right"), Column("bytes", "right")), tuple(rows))


SECTION = Section("programs", 48, "Programs", build)
