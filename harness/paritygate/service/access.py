"""Who asks, and whether they may: `caller: Annotated[Caller, needs("read")]` in a route."""

import ipaddress
from typing import Annotated, Any

from fastapi import Depends, Request

from paritygate.service.problems import Forbidden, NotFound, Unauthorized
from paritygate.service.tokens import SCOPES, Caller, Scope, caller_of

UNNAMED = Caller("somebody on this machine", frozenset(SCOPES))
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def who(request: Request) -> Caller | None:
    """The caller by bearer token, else by the browser's session, else, on this machine, whoever it is."""
    service = request.app.state.service
    header = request.headers.get("authorization", "")
    if header:
        kind, _, text = header.partition(" ")
        found = caller_of(service.engine, text.strip()) if kind.lower() == "bearer" else None
        if found is None:
            raise Unauthorized("token is not, or no longer, good", try_="a new one: paritygate token create NAME")
        return found
    if service.config.unnamed == "loopback" and _is_from_here(request):
        return UNNAMED
    return None


def _is_from_here(request: Request) -> bool:
    """Over loopback, by a name of loopback, and through no proxy, which would make everybody local.

    The name matters: a page elsewhere whose own name leads here would otherwise be let in by the browser.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    return _is_loopback(request.client.host if request.client else "") and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "testclient", "testserver"):
        return host == "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needs(scope: Scope) -> Any:
    """A dependency that gives the caller, or refuses one who may not do this in the project that the path names."""

    def check(request: Request) -> Caller:
        caller, project = who(request), request.path_params.get("project", "")
        if caller is None:
            raise Unauthorized("a token is needed", expected="Authorization: Bearer pgt_...")
        if not caller.may(scope, project):
            if project and caller.project not in ("", project):  # it is not even told that there is one
                raise NotFound("no such project", where=project)
            raise Forbidden("not allowed", where=request.url.path, expected=f"scope {scope}", got=_said(caller))
        return caller

    return Depends(check)


def _said(caller: Caller) -> str:
    return f"{caller.name}: {', '.join(sorted(caller.scopes)) or 'nothing'}"


Reader = Annotated[Caller, needs("read")]
Submitter = Annotated[Caller, needs("submit")]
Worker = Annotated[Caller, needs("work")]
Approver = Annotated[Caller, needs("approve")]
Admin = Annotated[Caller, needs("admin")]
