"""`/api/audit`: who changed what, the newest first."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from paritygate.service import audit
from paritygate.service.access import Admin
from paritygate.service.answers import Limit, answer, described
from paritygate.service.app import ServiceOf
from paritygate.service.problems import NotFound
from paritygate.service.summaries import Paged

ROUTER = APIRouter(prefix="/api/audit", tags=["audit"])
# No character that a database refuses.
Text = Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f]*$")]


@ROUTER.get("", **described(Paged[audit.Noted]))
def changes(
    service: ServiceOf,
    caller: Admin,
    project: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = "",
    who: Text = "",
    action: Text = "",
    limit: Limit = 100,
    after: Annotated[str, Query(pattern=r"^[0-9]{0,18}$")] = "",
) -> Response:
    """An admin of one project sees the changes of that project."""
    if caller.project and project not in ("", caller.project):
        raise NotFound("no such project", where=project)
    wanted = caller.project or project
    items, following = audit.noted(service.engine, wanted, who, action, limit, int(after) if after else None)
    return answer(Paged(tuple(items), "" if following is None else str(following)))
