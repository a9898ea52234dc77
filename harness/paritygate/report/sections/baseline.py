"""The run beside an earlier one, or beside the drifts that were accepted: what became of each row."""

from paritygate.core.comparison import RowChange, Status
from paritygate.report.data import ReportData
from paritygate.report.parts import PROSE, Column, Item, Part, Section, Table, Text, Tone
from paritygate.report.words import count

SHOWN = 40
TONES = {
    Status.BROKEN: Tone.BAD,
    Status.WORSE: Tone.BAD,
    Status.GONE: Tone.BAD,
    Status.NEW: Tone.WARN,
    Status.FIXED: Tone.GOOD,
    Status.BETTER: Tone.GOOD,
    Status.EQUAL: Tone.PLAIN,
    Status.IDENTICAL: Tone.PLAIN,
}
MEANINGS = {
    Status.BROKEN: "passed there, does not here",
    Status.WORSE: "uses more of its budget, or passes only because it was accepted",
    Status.GONE: "compared there, not here",
    Status.NEW: "not compared there",
    Status.FIXED: "did not pass by itself there, does here",
    Status.BETTER: "uses less of its budget",
    Status.EQUAL: "uses the same part of its budget, within a twentieth; other bits, or bits that nobody noted",
    Status.IDENTICAL: "the candidate gives the same bits",
}


def build(data: ReportData) -> list[Part]:
    found = data.comparison
    if found is None or not found.changes:
        return []
    total = sum(found.counts.values())
    parts: list[Part] = [
        Text(f"Against {found.against}: {count(total)} row{'s' * (total != 1)} compared."),
        Table(
            (Column("status"), Column("rows", "right"), Column("means", least=PROSE)),
            tuple(
                (Item(name, TONES[Status(name)]), Item(count(rows)), Item(MEANINGS[Status(name)], Tone.MUTED))
                for name, rows in found.counts.items()
            ),
        ),
    ]
    if found.changed:
        more = len(found.changed) - SHOWN
        parts.append(
            Table(
                tuple(map(Column, ("status", "value", "case", "cell", "mode", "verdict", "measured"))),
                tuple(_line(data, change) for change in found.changed[:SHOWN]),
                f"And {count(more)} more: paritygate compare says them all." if more > 0 else "",
            )
        )
    return parts


def _line(data: ReportData, change: RowChange) -> tuple[Item, ...]:
    drift = change.row.drift
    return (
        Item(change.status, TONES[change.status]),
        Item(drift.address, Tone.CODE, data.anchors.get(drift.site, "")),
        Item(drift.case),
        Item(drift.cell, Tone.CODE),
        Item(drift.mode),
        Item(change.verdicts),
        Item(change.numbers),
    )


SECTION = Section("baseline", 25, "Compared with before", build)
