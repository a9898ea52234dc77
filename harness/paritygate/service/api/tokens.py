"""`/api/tokens`: made, listed and revoked by an admin; of one project by an admin of that project."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.responses import JSONResponse

from paritygate.core.codec import to_json
from paritygate.service import tokens
from paritygate.service.access import Admin
from paritygate.service.app import ServiceOf
from paritygate.service.problems import Forbidden, documented

ROUTER = APIRouter(prefix="/api/tokens", tags=["tokens"])
_TEXT = {"type": "string"}
_NUMBER = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_KNOWN: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("name", "project", "created_by"), _TEXT),
        "scopes": {"type": "array", "items": {"enum": list(tokens.SCOPES)}},
        **dict.fromkeys(("created", "expires", "revoked", "used"), _NUMBER),
    },
    "required": ["name", "scopes", "project", "created", "created_by", "expires", "revoked", "used"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _KNOWN}, "next": _TEXT},
    "required": ["items", "next"],
}
_NEW = {"type": "object", "properties": {"name": _TEXT, "token": _TEXT}, "required": ["name", "token"]}


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


@ROUTER.get("", response_model=None, responses={200: _json(_LIST, "by name"), **documented([401, 403])})
def known(
    service: ServiceOf,
    caller: Admin,
    after: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9._@-]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> JSONResponse:
    """All that is known of tokens, from behind the name `after`; never a token."""
    found = tokens.known(service.engine, caller.project, after, limit + 1)
    following = found[limit - 1].name if len(found) > limit else ""
    return JSONResponse({"items": to_json(found[:limit]), "next": following})


@ROUTER.post(
    "", status_code=201, response_model=None,
    responses={201: _json(_NEW, "the only time that it is seen"), **documented([401, 403, 409])},
)  # fmt: skip
def create(
    service: ServiceOf,
    caller: Admin,
    name: Annotated[str, Body(max_length=64)],
    scopes: Annotated[list[tokens.Scope], Body(min_length=1, max_length=len(tokens.SCOPES))],
    project: Annotated[str, Body(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = "",
    expires_s: Annotated[float | None, Body(gt=0, le=10 * 366 * 86_400)] = None,
) -> JSONResponse:
    """A new token. An admin of one project makes tokens of that project only."""
    if caller.project and project != caller.project:
        raise Forbidden("token of another project", where=project, expected=caller.project)
    chosen = tokens.parse_scopes(" ".join(scopes))
    text = tokens.create(service.engine, name, chosen, caller.name, project, expires_s)
    return JSONResponse({"name": name, "token": text}, 201)


@ROUTER.delete("/{name}", status_code=204, responses=documented([401, 403, 404]))
def revoke(service: ServiceOf, caller: Admin, name: str) -> None:
    """From now on it opens nothing, nor does a browser that logged in with it."""
    tokens.revoke(service.engine, name[:128], caller.name, caller.project)
