"""Two runs beside each other."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from paritygate.service import history
from paritygate.service.access import Reader
from paritygate.service.answers import LIMITS, After, InProject, Limit, Text, answer, described, page
from paritygate.service.app import ServiceOf

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["compare"])
Named = Annotated[str, Query(description="A run, `latest`, or `latest:BRANCH`.", min_length=1, max_length=LIMITS.text)]


@ROUTER.get("/compare", **described(history.ComparisonPage, (401, 403, 404, 413, 422)))
def compare_runs(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    left: Named,
    right: Named,
    status: Text = "",
    limit: Limit = 100,
    after: After = "",
) -> Response:
    """What changed from `left` to `right`, the worst first; with `status`, the rows that it became of."""
    return answer(history.compare(service, project, left, right, status, page(limit, after)))
