"""First divergence: for each case and cell the earliest failing value that nothing upstream explains."""

from paritygate.core.drift import Row
from paritygate.report.blame_parts import blame_parts
from paritygate.report.data import ReportData, root
from paritygate.report.parts import PROSE, Column, Details, Heading, Item, Part, RowInFull, Section, Table, Text, Tone
from paritygate.report.row_parts import row_parts
from paritygate.report.words import MEANINGS, count, row_words, verdict_item

SHOWN_IN_FULL = 6


def build(data: ReportData) -> list[Part]:
    if not data.first_divergences:
        return []
    alike: dict[tuple[str, str, str, str, str], list[Row]] = {}
    for row in data.first_divergences:
        key = (row.drift.case, row.drift.mode, row.drift.address, row.verdict, row.diagnosis)
        alike.setdefault(key, []).append(row)
    columns = ("case", "cells", "mode", "first at", "verdict", "drift", "diagnosis", "origin", "propagated")
    parts: list[Part] = [
        Table(
            tuple(
                Column(c, "right" if c == "propagated" else "left", least=PROSE if c == "drift" else 0) for c in columns
            ),
            tuple(_line(data, rows) for rows in alike.values()),
        )
    ]
    seen = {row.diagnosis for row in data.first_divergences if row.diagnosis}
    parts += [Text(f"{diagnosis}: {MEANINGS[diagnosis]}.", Tone.MUTED) for diagnosis in sorted(seen)]
    by_address: dict[str, Row] = {}
    for row in data.first_divergences:
        by_address.setdefault(row.drift.address, row)
    shown = list(by_address.values())[:SHOWN_IN_FULL]
    parts += [Text(f"{row.drift.address} in {row.drift.case}: {row.evidence}.") for row in shown if row.evidence]
    explained = [each for each in data.counterfactuals if each.address in by_address]
    parts += [Text(f"{each.address} in {each.case}: {each.text}.") for each in explained]
    for blame in [each for each in data.blames if each.address in by_address][:SHOWN_IN_FULL]:
        parts += [
            Heading(f"Lines to blame for {blame.address} in {blame.case}, {blame.cell}, {blame.mode}"),
            *blame_parts(blame),
        ]
    for row in shown:
        drift = row.drift
        parts.append(
            Details(
                Item(f"{drift.address} in {drift.case}, {drift.cell}, {drift.mode}", Tone.CODE),
                (RowInFull(row, tuple(row_parts(row))),),
                unfolded="open" if len(by_address) == 1 else "closed",
            )
        )
    return parts


def _line(data: ReportData, rows: list[Row]) -> tuple[Item, ...]:
    """The cells of one case in which the same value diverges first, with the words of the first of them."""
    row = rows[0]
    drift = row.drift
    return (
        Item(drift.case),
        Item(", ".join(data.cell_labels[r.drift.cell] for r in rows), Tone.CODE),
        Item(drift.mode),
        data.link(row),
        verdict_item(row),
        Item(row_words(row)),
        Item(row.diagnosis.value, Tone.BAD if root(row) else Tone.MUTED),
        Item(row.origin, Tone.CODE),
        Item(count(sum(data.followers[r.drift.case, r.drift.cell, r.origin or r.drift.address] for r in rows))),
    )


SECTION = Section("divergence", 20, "First divergence", build)
