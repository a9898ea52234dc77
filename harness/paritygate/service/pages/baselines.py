"""What a project accepted: who did, when and why, and each row of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter

from paritygate.core.budget import Accepted
from paritygate.core.site import address
from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import After, InProject
from paritygate.service.app import ServiceOf
from paritygate.service.folders import Folders
from paritygate.service.page import page
from paritygate.service.reading import platforms
from paritygate.store.baseline import audit_of, read_audit, read_baseline

ROUTER = APIRouter()
_LINES, _APPROVALS = 100, 50


@dataclass(frozen=True)
class ApprovalLine:
    when: str
    who: str
    run: str
    select: str
    reason: str
    rows: int


@dataclass(frozen=True)
class AcceptedLine:
    """A row of the baseline; `share` is the largest of its shares of a budget of that day."""

    case: str
    cell: str
    mode: str
    address: str
    verdict: str
    share: float | None
    reason: str
    run: str
    date: str


@dataclass(frozen=True)
class BaselinesView:
    """`platforms` counts the rows that are accepted on each; `approvals` are the last ones, the newest first."""

    platforms: Mapping[str, int]
    approvals: tuple[ApprovalLine, ...]
    lines: tuple[AcceptedLine, ...]
    after: str
    next: str


@page(ROUTER, "/projects/{project}/baselines", "baselines.html.j2", 404)
def baselines(project: InProject, service: ServiceOf, caller: Reader, after: After = "") -> BaselinesView:
    """Approvals, and the rows that they accepted, in the order of the files."""
    folder, begin = Folders(service.config).baselines(project), queries.whole(after) if after else 0
    lines, approvals = list(read_baseline(folder).values()), read_audit(audit_of(folder))[: -_APPROVALS - 1 : -1]
    shown = tuple(map(_line, lines[begin : begin + _LINES]))
    acts = tuple(ApprovalLine(each.when, each.who, each.run, each.select, each.reason, each.rows) for each in approvals)
    following = str(begin + _LINES) if begin + _LINES < len(lines) else ""
    return BaselinesView(Counter(_platform(line) for line in lines), acts, shown, after, following)


def _platform(line: Accepted) -> str:
    return platforms([line.cell])[0]


def _line(line: Accepted) -> AcceptedLine:
    where = address(line.site, line.port, line.call)
    share = max(line.shares.values(), default=None)
    return AcceptedLine(line.case, line.cell, line.mode, where, line.verdict, share, line.reason, line.run, line.date)
