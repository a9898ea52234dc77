"""What a project accepted, and by whom; the gate of a run by it; accepting more."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from paritygate.core.budget import Accepted, Approval
from paritygate.service import gating, queries
from paritygate.service.access import Approver, Reader
from paritygate.service.answers import LIMITS, After, InProject, Limit, OfRun, answer, described, page
from paritygate.service.app import ServiceOf
from paritygate.service.summaries import Paged

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["baseline"])
_AGAINST = "What it is compared with: `baseline`, `branch:NAME` (its last run before this one), or a run."


class NewApproval(BaseModel):
    """What `POST .../approve` is given: which rows, as a glob over case/cell/mode/site:port, and why."""

    select: Annotated[str, Field(min_length=1, max_length=LIMITS.text)]
    reason: Annotated[str, Field(max_length=2_000)]
    semantic: gating.Semantic = "refused"
    dry_run: bool = False


@ROUTER.get("/baseline", **described(Paged[Accepted]))
def list_baseline(
    service: ServiceOf, caller: Reader, project: InProject, limit: Limit = 100, after: After = ""
) -> Response:
    """What was accepted, by row."""
    return answer(queries.part(gating.accepted_lines(service, project), page(limit, after)))


@ROUTER.get("/approvals", **described(Paged[Approval]))
def list_approvals(
    service: ServiceOf, caller: Reader, project: InProject, limit: Limit = 100, after: After = ""
) -> Response:
    """Each act of accepting, the last one first."""
    return answer(queries.part(gating.approvals(service, project), page(limit, after)))


@ROUTER.get("/runs/{run}/gate", **described(gating.GateAnswer))
def gate_run(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    run: OfRun,
    against: Annotated[str, Query(description=_AGAINST, max_length=LIMITS.text)] = gating.BASELINE,
) -> Response:
    """What the gate says of a run by the project's baseline: the exit code is that of `paritygate gate`."""
    return answer(gating.gate(service, project, run, against))


@ROUTER.post("/runs/{run}/approve", **described(gating.ApprovalAnswer))
def approve_run(service: ServiceOf, caller: Approver, project: InProject, run: OfRun, new: NewApproval) -> Response:
    """Accepts the drifts of rows of a run, in the token's name; as a dry run, only says what would be written."""
    act = "dry run" if new.dry_run else "write"
    return answer(gating.approve(service, caller, project, run, new.select, new.reason, new.semantic, act))
