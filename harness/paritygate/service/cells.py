"""How the rows of a run divide among its cells and modes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from paritygate.core.drift import Verdict
from paritygate.service import tables
from paritygate.service.queries import run_line

if TYPE_CHECKING:
    from paritygate.service.app import Service


@dataclass(frozen=True)
class CellCount:
    """Rows of one cell in one mode. `skipped` are all that were, whether with a reason or without."""

    cell: str
    mode: str
    passed: int
    failed: int
    skipped: int


def cells(service: "Service", project: str, run: str) -> tuple[CellCount, ...]:
    """In the order in which the run has them."""
    row, place = tables.row.c, tables.place.c
    with service.engine.connect() as connection:
        line = run_line(service, connection, project, run)
        counted = (
            select(place.cell, place.mode, row.verdict, func.count(), func.min(row.position))
            .select_from(tables.row.join(tables.place, place.id == row.place_id))
            .where(row.run_id == line.id)
            .group_by(place.cell, place.mode, row.verdict)
        )
        found: dict[tuple[str, str], dict[str, int]] = {}
        for cell, mode, verdict, count, _ in sorted(connection.execute(counted), key=lambda each: each[4]):
            found.setdefault((cell, mode), {})[verdict] = count
    return tuple(_count(cell, mode, verdicts) for (cell, mode), verdicts in found.items())


def _count(cell: str, mode: str, verdicts: dict[str, int]) -> CellCount:
    passed, skipped = verdicts.get(Verdict.PASS, 0), verdicts.get(Verdict.SKIPPED, 0)
    return CellCount(cell, mode, passed, sum(verdicts.values()) - passed - skipped, skipped)
