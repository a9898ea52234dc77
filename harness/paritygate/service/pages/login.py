"""`/login` takes a token and gives the browser a cookie in its place; `/logout` takes it back."""

import html
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from paritygate.service.access import Form, form_token
from paritygate.service.app import ServiceOf
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.tokens import by_hash, digest, looks_like_one

ROUTER = APIRouter(tags=["login"], default_response_class=HTMLResponse)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>paritygate: log in</title></head>
<body><main><h1>Log in</h1>{said}
<form method="post" action="/login">
<input type="hidden" name="form_token" value="{form_token}"><input type="hidden" name="next" value="{next}">
<p><label>Token <input type="password" name="token" autocomplete="current-password" required></label></p>
<p><button>Log in</button></p>
</form>
<p>A token is made by whoever runs this service: <code>paritygate token create NAME --scopes read</code></p>
</main></body></html>
"""


@ROUTER.get("/login", include_in_schema=False)
def login(request: Request, next: Annotated[str, Query(max_length=2048)] = "/") -> HTMLResponse:
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
    answer = RedirectResponse(following, 303)
    secure = "https" in (request.url.scheme, urlsplit(request.headers.get("origin", "")).scheme)
    request.app.state.sessions.begin(answer, hash, secure)
    return answer


@ROUTER.post("/logout", include_in_schema=False)
def log_out(request: Request, form: Form) -> Response:
    answer = RedirectResponse("/login", 303)
    request.app.state.sessions.end(answer)
    return answer


def _own_path(text: str) -> str:
    """A path of this service and nothing else: no `//host`, no `/\\host`, which browsers take for the same."""
    fits = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if fits and len(text) <= 2048 else "/"


def _page(request: Request, following: str, said: str = "", status: int = 200) -> HTMLResponse:
    values = {"form_token": form_token(request), "next": following}
    escaped = {name: html.escape(value) for name, value in values.items()}
    return HTMLResponse(
        _PAGE.format(said=f'<p role="alert">{html.escape(said)}</p>' if said else "", **escaped), status
    )
