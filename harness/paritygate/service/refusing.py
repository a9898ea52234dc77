"""What a request is answered that is refused or fails: JSON under `/api` and for `.json`, a page elsewhere."""

import html
import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from paritygate.core.errors import HarnessError
from paritygate.service.problems import Refused, Unauthorized, as_json, status_of

LOG = logging.getLogger("paritygate.service")
LOGGED = "paritygate.logged"  # in the scope of a request whose failure is in the log
_JSON = ("/api/", "/metrics", "/healthz", "/readyz")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>{head}</head>
<body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""


def wants_json(request: Request) -> bool:
    path = request.url.path
    return path.startswith(_JSON) or path.endswith(".json")


def refusal(request: Request, reason: HarnessError) -> Response:
    """The error as its reader wants it. Who has to log in first is led there, and back."""
    status = status_of(reason)
    if status == 500:
        LOG.error("%s %a: %a", request.method, request.url.path, str(reason))
    if wants_json(request):
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        return JSONResponse(as_json(reason), status, headers)
    if isinstance(reason, Unauthorized) and request.method in ("GET", "HEAD"):
        return _to_login(request)
    return _page(status, reason.what, [reason.where, reason.expected, reason.got, reason.try_])


def by_status(request: Request, status: int, what: str = "", headers: dict[str, str] | None = None) -> Response:
    """An error that a framework found: no such page, no such method, a body that is too large."""
    what = what or HTTPStatus(status).phrase.lower()
    if wants_json(request):
        return JSONResponse(as_json(Refused(what)), status, headers)
    answer = _page(status, what, [])
    answer.headers.update(headers or {})
    return answer


def invalid(request: Request, errors: Sequence[Any]) -> Response:
    """A parameter or a body that does not fit. Of what was sent nothing is repeated but where it was."""
    first = errors[0] if errors else {}
    where = ".".join(str(part) for part in first.get("loc", ()))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return refusal(
        request, Refused("request does not fit", where=_plain(where), got=_plain(first.get("msg", "")) + more)
    )


def unexpected(request: Request, reason: Exception) -> Response:
    """A fault of the service's own: the log has all of it, the answer a number by which it is found there."""
    number = secrets.token_hex(6)
    request.scope[LOGGED] = True
    LOG.error("%s: %s %a", number, request.method, request.url.path, exc_info=reason)
    failed = HarnessError("the service failed", where=number, try_="whoever runs it finds this number in its log")
    if wants_json(request):
        return JSONResponse(as_json(failed), 500)
    return _page(500, failed.what, [number, failed.try_])


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:256]


def _page(status: int, what: str, more: Sequence[str], head: str = "") -> HTMLResponse:
    text = "<br>".join(html.escape(line) for line in more if line)
    return HTMLResponse(_PAGE.format(title=html.escape(what), text=text, head=head), status)


def _to_login(request: Request) -> Response:
    """A link from elsewhere comes without the strict cookie, even of somebody who is logged in: the page that asks
    itself again comes with it, for that request is this site's own."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        return _page(401, "one moment", [], head='<meta http-equiv="refresh" content="0">')
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303)
