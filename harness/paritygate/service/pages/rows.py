"""The rows of a run: those that are asked for, in the order of the computation or by the share of their budget."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from paritygate.core.drift import Verdict
from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import After, InProject, OfRun, Text
from paritygate.service.app import ServiceOf
from paritygate.service.page import page
from paritygate.service.queries import RowFilter
from paritygate.service.summaries import Page, RowSummary, RunSummary

ROUTER = APIRouter()
_ROWS = 100
Order = Literal["", "position", "share"]


@dataclass(frozen=True)
class RowsView:
    run: RunSummary
    filter: RowFilter
    order: str
    verdicts: tuple[str, ...]
    rows: tuple[RowSummary, ...]
    after: str
    next: str


@page(ROUTER, "/projects/{project}/runs/{run}/rows", "rows.html.j2", 404)
def rows(
    project: InProject,
    run: OfRun,
    service: ServiceOf,
    caller: Reader,
    verdict: Text = "",
    case: Text = "",
    cell: Text = "",
    mode: Text = "",
    address: Text = "",
    order: Annotated[Order, Query()] = "",
    after: After = "",
) -> RowsView:
    """Rows of a verdict, a case, a cell, a mode, or whose address a glob matches; `order=share` the worst first."""
    filter, by = RowFilter(verdict, case, cell, mode, address), "share" if order == "share" else "position"
    shown = queries.run(service, project, run)
    found = queries.rows(service, project, shown.name, filter, by, Page(_ROWS, after))
    return RowsView(shown, filter, by, tuple(map(str, Verdict)), found.items, after, found.next)
