"""`/login` takes a token and gives the browser a cookie in its place; `/logout` takes it back."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from paritygate.service.access import Form
from paritygate.service.app import ServiceOf
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.page import answer
from paritygate.service.tokens import by_hash, digest, looks_like_one

ROUTER = APIRouter(tags=["login"], default_response_class=HTMLResponse)


@dataclass(frozen=True)
class LoginView:
    """`next` is the page that asked; `said` why it was not enough, if anything was given."""

    next: str
    said: str = ""


@ROUTER.get("/login", include_in_schema=False)
def login(request: Request, next: Annotated[str, Query(max_length=2048)] = "/") -> Response:
    return _page(request, _own_path(next))


@ROUTER.post("/login", include_in_schema=False)
def log_in(request: Request, service: ServiceOf, form: Form) -> Response:
    """Each login has a session of its own: whatever cookie came before is replaced."""
    text, following = form.get("token", "").strip(), _own_path(form.get("next", "/"))
    hash = digest(text)
    caller = by_hash(service.engine, hash) if looks_like_one(text) else None
    if caller is None:
        return _page(request, following, "This token is not, or no longer, good.", 401)
    with writing(service.engine).begin() as connection:
        note(connection, caller.name, "logged in", caller.project)
    leading = RedirectResponse(following, 303)
    secure = "https" in (request.url.scheme, urlsplit(request.headers.get("origin", "")).scheme)
    request.app.state.sessions.begin(leading, hash, secure)
    return leading


@ROUTER.post("/logout", include_in_schema=False)
def log_out(request: Request, form: Form) -> Response:
    leading = RedirectResponse("/login", 303)
    request.app.state.sessions.end(leading)
    return leading


def _own_path(text: str) -> str:
    """A path of this service and nothing else: no `//host`, no `/\\host`, which browsers take for the same."""
    fits = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if fits and len(text) <= 2048 else "/"


def _page(request: Request, following: str, said: str = "", status: int = 200) -> Response:
    return answer(request, "login.html.j2", LoginView(following, said), status)
