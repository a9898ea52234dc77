"""Any two runs of a project beside each other: what became of each row."""

from dataclasses import dataclass

from fastapi import APIRouter

from paritygate.service import history, queries
from paritygate.service.access import Reader
from paritygate.service.answers import After, InProject, Text
from paritygate.service.app import ServiceOf
from paritygate.service.history import ComparisonPage
from paritygate.service.page import page
from paritygate.service.summaries import Page, RunSummary

ROUTER = APIRouter()
_ROWS, _RECENT = 100, 30


@dataclass(frozen=True)
class CompareView:
    """`asked_left` and `asked_right` as they were asked for; `recent` are the runs that a reader may mean."""

    asked_left: str
    asked_right: str
    status: str
    recent: tuple[RunSummary, ...]
    left: RunSummary | None
    right: RunSummary | None
    comparison: ComparisonPage | None
    after: str


@page(ROUTER, "/projects/{project}/compare", "compare.html.j2", 404, 413)
def compare(
    project: InProject,
    service: ServiceOf,
    caller: Reader,
    left: Text = "",
    right: Text = "",
    status: Text = "",
    after: After = "",
) -> CompareView:
    """`left` is the earlier run: a name, `latest`, or `latest:BRANCH`. Rows of a status, or all that changed."""
    recent = queries.runs(service, project, page=Page(_RECENT)).items
    if not (left and right):
        return CompareView(left, right, status, recent, None, None, None, after)
    sides = [queries.run(service, project, name) for name in (left, right)]
    found = history.compare(service, project, sides[0].name, sides[1].name, status, Page(_ROWS, after))
    return CompareView(left, right, status, recent, sides[0], sides[1], found, after)
