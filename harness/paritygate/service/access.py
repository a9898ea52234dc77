"""Who asks, and whether they may: `caller: Annotated[Caller, needs("read")]` in a route.

A form of a page carries `form_token(request)` in its field `form_token`, and its route takes `form: Form` first.
"""

import hmac
import ipaddress
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from paritygate.service.problems import Forbidden, NotFound, Unauthorized, Unsupported
from paritygate.service.tokens import SCOPES, Caller, Scope, by_hash, digest, looks_like_one

UNNAMED = Caller("somebody on this machine", frozenset(SCOPES))
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_FORM = "application/x-www-form-urlencoded"
_SAFE = ("GET", "HEAD", "OPTIONS")


def who(request: Request) -> Caller | None:
    """The caller by bearer token, else by the browser's session, else, on this machine, whoever it is.

    A browser sends its session, and reaches this machine, whoever made the page that asks: without a bearer token,
    which no page has, a change is taken from pages of the service only, and the API takes none by session at all.
    """
    service = request.app.state.service
    if "authorization" in request.headers:
        return _bearer(request)
    changes = request.method not in _SAFE
    if changes:
        refuse_elsewhere(request)
    session = request.app.state.sessions.of(request)
    if session is not None and not (changes and request.url.path.startswith("/api/")):
        found = by_hash(service.engine, session.hash)
        if found is not None:
            return found
    if service.config.unnamed == "loopback" and _is_from_here(request):
        return UNNAMED
    return None


def _bearer(request: Request) -> Caller:
    given = request.headers.getlist("authorization")
    kind, _, text = given[0].partition(" ")
    text = text.strip()
    if len(given) == 1 and kind.lower() == "bearer" and looks_like_one(text):
        hash = digest(text)
        found = by_hash(request.app.state.service.engine, hash)
        if found is not None:
            request.app.state.uses.note(hash)
            return found
    raise Unauthorized("token is not, or no longer, good", try_="a new one: paritygate token create NAME")


def refuse_elsewhere(request: Request) -> None:
    """Raises Forbidden where a browser says that another site's page asks. What is no browser says neither."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_own(request, origin)):
        raise Forbidden("asked by a page of another site", where=request.url.path, expected="a page of this service")


def _is_own(request: Request, origin: str) -> bool:
    """By host and port: behind a proxy that speaks TLS the scheme is not known here."""
    try:
        asked = urlsplit(origin)
        return asked.scheme in ("http", "https") and asked.netloc.lower() == request.headers.get("host", "").lower()
    except ValueError:
        return False


def _is_from_here(request: Request) -> bool:
    """Over loopback, by a name of loopback, and through no proxy, which would make everybody local.

    The name matters: a page elsewhere whose own name leads here would otherwise be let in by the browser.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    return _is_loopback(request.client.host if request.client else "") and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def require(request: Request, scope: Scope) -> Caller:
    """The caller. Raises where there is none, or one who may not do this in the project that the path names."""
    caller, project = who(request), request.path_params.get("project", "")
    if caller is None:
        raise Unauthorized("a token is needed", expected="Authorization: Bearer pgt_...")
    request.state.caller = caller  # for the head of a page
    if not caller.may(scope, project):
        if project and caller.project not in ("", project):  # it is not even told that there is one
            raise NotFound("no such project", where=project)
        raise Forbidden("not allowed", where=request.url.path, expected=f"scope {scope}", got=_said(caller))
    return caller


def needs(scope: Scope) -> Any:
    """A dependency that gives the caller, or refuses one who may not do this in the project that the path names."""

    def check(request: Request) -> Caller:
        return require(request, scope)

    return Depends(check)


def _said(caller: Caller) -> str:
    return f"{caller.name}: {', '.join(sorted(caller.scopes)) or 'nothing'}"


def form_token(request: Request) -> str:
    """For the hidden field `form_token` of a form: its session's, which no other site can know."""
    return request.app.state.sessions.form_token(request)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that a page of this service sent. Raises Forbidden on any other."""
    refuse_elsewhere(request)
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != _FORM:  # one of parts says itself how its text is to be read
        raise Unsupported("no form of a page", where="Content-Type", expected=_FORM, got=ascii(kind[:80]))
    async with request.form(max_fields=64) as sent:
        fields = {name: value for name, value in sent.items() if isinstance(value, str)}
    if not hmac.compare_digest(fields.pop("form_token", "").encode(), form_token(request).encode()):
        raise Forbidden("form is not of this session", where=request.url.path, try_="load the page again")
    return fields


Form = Annotated[dict[str, str], Depends(_form)]
Reader = Annotated[Caller, needs("read")]
Submitter = Annotated[Caller, needs("submit")]
Worker = Annotated[Caller, needs("work")]
Approver = Annotated[Caller, needs("approve")]
Admin = Annotated[Caller, needs("admin")]
