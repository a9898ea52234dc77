"""What a request is answered that is refused or fails: JSON under `/api` and for `.json`, a page elsewhere."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paritygate.core.errors import HarnessError
from paritygate.service import answers, page
from paritygate.service.database import away
from paritygate.service.problems import Refused, Unauthorized, as_json, status_of
from paritygate.service.words import url

LOG = logging.getLogger("paritygate.service")
LOGGED = "paritygate.logged"  # in the scope of a request whose failure is in the log
_JSON = ("/api/", "/metrics", "/healthz", "/readyz")
_RETRY_S = "5"  # of what passes by itself


@dataclass(frozen=True)
class Refusal:
    """What the page of an error shows."""

    status: int
    what: str
    said: Mapping[str, str]


def wants_json(request: Request) -> bool:
    path = request.url.path
    return path.startswith(_JSON) or path.endswith(".json")


def refusal(request: Request, reason: HarnessError) -> Response:
    """The error as its reader wants it. Who has to log in first is led there, and back."""
    status = status_of(reason)
    if status == 500:
        LOG.error("%s %a: %a", request.method, request.url.path, str(reason))
    reason = without_folders(request, reason)
    if wants_json(request):
        answer = answers.answer(as_json(reason), status)
        if status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(reason, Unauthorized) and request.method in ("GET", "HEAD"):
        return _to_login(request)
    else:
        said = {"where": reason.where, "expected": reason.expected, "got": reason.got, "try": reason.try_}
        answer = _page(request, status, reason.what, said)
    if status in (429, 503):
        answer.headers["Retry-After"] = _RETRY_S
    return answer


def without_folders(request: Request, reason: HarnessError) -> HarnessError:
    """The same error without the paths of this machine, which are nobody's business who asks from elsewhere."""
    config = request.app.state.service.config
    for name in ("where", "expected", "got", "try_"):
        text = getattr(reason, name)
        for folder, called in ((config.data, "DATA"), (config.runs, "RUNS"), (config.golden, "GOLDEN")):
            text = text.replace(str(folder), called) if folder.is_absolute() else text
        setattr(reason, name, text)
    return reason


def by_status(request: Request, status: int, what: str = "", headers: dict[str, str] | None = None) -> Response:
    """An error that a framework found: no such page, no such method, a body that is too large."""
    what = what or HTTPStatus(status).phrase.lower()
    # A path that is none tells who asks by a wrong address, one with `/api` at its end, what it came to.
    where = _plain(request.url.path) if status in (404, 405) else ""
    told = Refused(what, where=where)
    answer = answers.answer(as_json(told), status) if wants_json(request) else _page(request, status, what)
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


def of_database(request: Request, reason: SQLAlchemyError) -> Response:
    """503 of a database that is away for now, 507 of one without room, its own words in the log only; else a fault."""
    found = away(reason)
    if found is None:
        return unexpected(request, reason)
    LOG.warning(
        "%s %a: %a", request.method, request.url.path, str(reason.orig if isinstance(reason, DBAPIError) else reason)
    )
    return refusal(request, found)


def unexpected(request: Request, reason: Exception) -> Response:
    """A fault of the service's own: the log has all of it, the answer a number by which it is found there."""
    number = secrets.token_hex(6)
    request.scope[LOGGED] = True
    LOG.error("%s: %s %a", number, request.method, request.url.path, exc_info=reason)
    failed = HarnessError("the service failed", where=number, try_="whoever runs it finds this number in its log")
    if wants_json(request):
        return answers.answer(as_json(failed), 500)
    return _page(request, 500, failed.what, {"number": number, "try": failed.try_})


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:256]


def _page(request: Request, status: int, what: str, said: Mapping[str, str] = MappingProxyType({})) -> Response:
    return page.answer(request, "refused.html.j2", Refusal(status, what, said), status)


def _to_login(request: Request) -> Response:
    """A link from elsewhere comes without the strict cookie, even of somebody who is logged in: the page that asks
    itself again comes with it, for that request is this site's own."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        answer = _page(request, 401, "one moment")
        answer.headers["Refresh"] = "0"
        return answer
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(url("login", next=asked), 303)
