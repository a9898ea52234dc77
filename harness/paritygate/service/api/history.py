"""A row across the runs of a project."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from paritygate.service import history
from paritygate.service.access import Reader
from paritygate.service.answers import LIMITS, InProject, Limit, Text, answer, described
from paritygate.service.app import ServiceOf

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["history"])
Named = Annotated[str, Query(min_length=1, max_length=LIMITS.text)]


@ROUTER.get("/history", **described(history.History))
def get_history(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    case: Named,
    cell: Named,
    mode: Named,
    address: Named,
    branch: Text = "",
    limit: Limit = 200,
) -> Response:
    """Its last runs, the oldest first, and where it moved: the same rule as `paritygate compare`."""
    return answer(history.history(service, project, case, cell, mode, address, branch, limit))
