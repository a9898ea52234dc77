"""Accepting drifts of a run: first what would be written, then, by a second form, that it is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse

from paritygate.core.budget import Accepted, Proposal
from paritygate.core.errors import UsageError
from paritygate.core.site import address
from paritygate.service import gating, queries
from paritygate.service.access import Approver, Form
from paritygate.service.answers import InProject, OfRun, Text
from paritygate.service.app import ServiceOf
from paritygate.service.page import page
from paritygate.service.problems import Refused, status_of
from paritygate.service.summaries import RunSummary
from paritygate.service.words import url

ROUTER = APIRouter()
_SHOWN = 500
Semantic = Literal["refused", "accepted"]


@dataclass(frozen=True)
class ProposedLine:
    """A row that would be accepted: the share of its budget that the baseline has, if it has one, and the new one."""

    case: str
    cell: str
    mode: str
    address: str
    verdict: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class ApproveView:
    """`proposals` are the first of `count`; `refused` says why there are none where it is not that nothing differs."""

    run: RunSummary
    select: str
    reason: str
    semantic: str
    count: int
    proposals: tuple[ProposedLine, ...]
    refused: tuple[str, ...]


@page(ROUTER, "/projects/{project}/runs/{run}/approve", "approve.html.j2", 404)
def approve(
    project: InProject,
    run: OfRun,
    service: ServiceOf,
    caller: Approver,
    select: Text = "",
    reason: Text = "",
    semantic: Annotated[Semantic, Query()] = "refused",
) -> ApproveView:
    """What an approval with this pattern and reason would write. Writes nothing."""
    found = queries.run(service, project, run)
    if not (select and reason):
        return ApproveView(found, select, reason, semantic, 0, (), ())
    try:
        answer = gating.approve(service, caller, project, found.name, select, reason, semantic, "dry run")
    except UsageError as refused:
        if status_of(refused) != 422:
            raise
        said = (refused.what, refused.where, refused.expected, refused.got, refused.try_)
        return ApproveView(found, select, reason, semantic, 0, (), tuple(filter(None, said)))
    lines = tuple(map(_line, answer.proposals[:_SHOWN]))
    return ApproveView(found, select, reason, semantic, len(answer.proposals), lines, ())


@ROUTER.post("/projects/{project}/runs/{run}/approve", include_in_schema=False)
def accept(form: Form, project: InProject, run: OfRun, service: ServiceOf, caller: Approver) -> RedirectResponse:
    semantic: Semantic = "accepted" if form.get("semantic") == "accepted" else "refused"
    select, reason = (_text(form.get(name, ""), name) for name in ("select", "reason"))
    gating.approve(service, caller, project, run, select, reason, semantic)
    return RedirectResponse(url("projects", project, "baselines"), 303)


def _text(value: str, name: str) -> str:
    if not 0 < len(value.strip()) <= 256 or not value.isprintable():
        raise Refused("field does not fit", where=name, expected="1 to 256 characters of text")
    return value


def _line(proposal: Proposal) -> ProposedLine:
    new = proposal.after
    where = address(new.site, new.port, new.call)
    return ProposedLine(new.case, new.cell, new.mode, where, new.verdict, _share(proposal.before), _share(new))


def _share(line: Accepted | None) -> float | None:
    return max(line.shares.values(), default=None) if line else None
