"""`/api/tokens`: made, listed and revoked by an admin; of one project by an admin of that project."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from paritygate.service import tokens
from paritygate.service.access import Admin
from paritygate.service.answers import Limit, answer, described
from paritygate.service.app import ServiceOf
from paritygate.service.problems import Forbidden, documented
from paritygate.service.summaries import Paged

ROUTER = APIRouter(prefix="/api/tokens", tags=["tokens"])


@dataclass(frozen=True)
class Made:
    """A new token, the only time that it is seen."""

    name: str
    token: str


@ROUTER.get("", **described(Paged[tokens.Known], (401, 403, 422)))
def known(
    service: ServiceOf,
    caller: Admin,
    after: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9._@-]*$")] = "",
    limit: Limit = 100,
) -> Response:
    """All that is known of tokens, from behind the name `after`; never a token."""
    found = tokens.known(service.engine, caller.project, after, limit + 1)
    following = found[limit - 1].name if len(found) > limit else ""
    return answer(Paged(tuple(found[:limit]), following))


@ROUTER.post("", **described(Made, (401, 403, 409, 422), 201))
def create(
    service: ServiceOf,
    caller: Admin,
    name: Annotated[str, Body(max_length=64)],
    scopes: Annotated[list[tokens.Scope], Body(min_length=1, max_length=len(tokens.SCOPES))],
    project: Annotated[str, Body(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = "",
    expires_s: Annotated[float | None, Body(gt=0, le=10 * 366 * 86_400)] = None,
) -> Response:
    """A new token. An admin of one project makes tokens of that project only."""
    if caller.project and project != caller.project:
        raise Forbidden("token of another project", where=project, expected=caller.project)
    chosen = tokens.parse_scopes(" ".join(scopes))
    text = tokens.create(service.engine, name, chosen, caller.name, project, expires_s)
    return answer(Made(name, text), 201)


@ROUTER.delete("/{name}", status_code=204, responses=documented([401, 403, 404]))
def revoke(service: ServiceOf, caller: Admin, name: str) -> None:
    """From now on it opens nothing, nor does a browser that logged in with it."""
    tokens.revoke(service.engine, name[:128], caller.name, caller.project)
