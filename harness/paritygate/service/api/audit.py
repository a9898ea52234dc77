"""`/api/audit`: who changed what, the newest first."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from paritygate.core.codec import to_json
from paritygate.service import audit
from paritygate.service.access import Admin
from paritygate.service.app import ServiceOf
from paritygate.service.problems import NotFound, documented

ROUTER = APIRouter(prefix="/api/audit", tags=["audit"])
_TEXT = {"type": "string"}
_NOTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "at": {"type": "number"},
        **dict.fromkeys(("who", "action", "project", "target"), _TEXT),
        "detail": {"type": "object"},
    },
    "required": ["at", "who", "action", "project", "target", "detail"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _NOTED}, "next": _TEXT},
    "required": ["items", "next"],
}
# No character that a database refuses.
Text = Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f]*$")]


@ROUTER.get(
    "", response_model=None,
    responses={
        200: {"description": "changes", "content": {"application/json": {"schema": _LIST}}},
        **documented([401, 403, 404]),
    },
)  # fmt: skip
def changes(
    service: ServiceOf,
    caller: Admin,
    project: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = "",
    who: Text = "",
    action: Text = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    after: Annotated[str, Query(pattern=r"^[0-9]{0,18}$")] = "",
) -> JSONResponse:
    """An admin of one project sees the changes of that project."""
    if caller.project and project not in ("", caller.project):
        raise NotFound("no such project", where=project)
    wanted = caller.project or project
    items, following = audit.noted(service.engine, wanted, who, action, limit, int(after) if after else None)
    return JSONResponse({"items": to_json(items), "next": "" if following is None else str(following)})
