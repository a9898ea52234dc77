"""What was found out about single rows after they were judged: the mistake that explains them, the lines to blame."""

from paritygate.core.drift import Row
from paritygate.report.blame_parts import blame_parts
from paritygate.report.data import ReportData, root
from paritygate.report.parts import Part, Text

RowKey = tuple[str, str, str, str, str, int]  # as `Drift.key`


def said(data: ReportData) -> dict[RowKey, tuple[Part, ...]]:
    """By key of each row that something is said of; a counterfactual is of the value in every cell that it fails in."""
    explained = {(each.case, each.address): each.text for each in data.counterfactuals}
    blamed = {each.key: each for each in data.blames}
    found: dict[RowKey, tuple[Part, ...]] = {}
    for row in data.failures:
        parts: list[Part] = []
        drift = row.drift
        if root(row) and (text := explained.get((drift.case, drift.address))):
            parts.append(Text(f"{text}."))
        if blame := blamed.get(blame_key(row)):
            parts += blame_parts(blame)
        if parts:
            found[drift.key] = tuple(parts)
    return found


def blame_key(row: Row) -> tuple[str, str, str, str]:
    """The key of the blame that is about a row."""
    return (row.drift.case, row.drift.cell, row.drift.mode, row.drift.address)
