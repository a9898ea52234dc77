"""A row across the runs of a project: when did it get worse, between which commits."""

from dataclasses import dataclass

from fastapi import APIRouter

from paritygate.core.comparison import Status
from paritygate.report.words import times
from paritygate.service import history as past
from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import InProject, Text
from paritygate.service.app import ServiceOf
from paritygate.service.history import History, Point, Step
from paritygate.service.page import page
from paritygate.service.words import words

ROUTER = APIRouter()
WORSE = (Status.BROKEN, Status.WORSE)
_RUNS = 200


@dataclass(frozen=True)
class HistoryStep:
    """A step between the two points that it leads from and to."""

    status: str
    worse: bool
    before: Point
    after: Point


@dataclass(frozen=True)
class HistoryView:
    """`said` is the history in a sentence; empty where no run has the row."""

    case: str
    cell: str
    mode: str
    address: str
    branch: str
    said: str
    points: tuple[Point, ...]
    steps: tuple[HistoryStep, ...]
    more: bool


@page(ROUTER, "/projects/{project}/history", "history.html.j2", 404)
def history(
    project: InProject,
    service: ServiceOf,
    caller: Reader,
    case: Text = "",
    cell: Text = "",
    mode: Text = "",
    address: Text = "",
    branch: Text = "",
) -> HistoryView:
    """The last 200 runs that have the row, of a branch where one is named, and where it moved by more than a step."""
    if not (case and cell and mode and address):
        queries.runs(service, project, page=queries.Page(1))  # there has to be such a project
        return HistoryView(case, cell, mode, address, branch, "", (), (), False)
    found = past.history(service, project, case, cell, mode, address, branch, _RUNS)
    points = {point.run: point for point in found.points}
    steps = tuple(_step(step, points) for step in found.steps)
    return HistoryView(case, cell, mode, address, branch, _said(found, steps), found.points, steps, found.more)


def _step(step: Step, points: dict[str, Point]) -> HistoryStep:
    return HistoryStep(step.status, step.status in WORSE, points[step.before], points[step.run])


def _said(found: History, steps: tuple[HistoryStep, ...]) -> str:
    """`0.45× of its limit in the last run, #37. Worse since #14 and #31, better since #34.`"""
    if not found.points:
        return ""
    last = found.points[-1]
    now = words(last.verdict) if last.share is None else f"{times(last.share)} of its limit"
    moved = [
        f"{word} in {' and '.join(numbers)}"
        for word, is_worse in (("worse", True), ("better", False))
        if (numbers := [f"#{step.after.number}" for step in steps if step.worse is is_worse])
    ]
    return f"{now} in the last run, #{last.number}; " + (f"it got {', '.join(moved)}." if moved else "it never moved.")
