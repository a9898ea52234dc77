"""Around the whole application: which names it answers to, how much and how long it reads, what each answer says."""

import ipaddress
from asyncio import wait_for
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paritygate.service.config import ServiceConfig
from paritygate.service.problems import Misdirected
from paritygate.service.refusing import LOGGED, refusal

_BODY = "paritygate.body"  # in the scope of a request
# Nothing is run, nothing is loaded from elsewhere, nobody else may frame it. A route may answer with its own.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


@dataclass
class Body:
    """How much of a request is read at most, and has been."""

    limit: int
    read: int = 0


def reads(request: Request, limit: int) -> None:
    """A route that takes a file says how large its body may be; every other is held to `Limits.body_bytes`."""
    request.scope[_BODY].limit = limit


class Guard:
    """The outermost ASGI application: it sees errors, too, that no route and no handler has seen."""

    def __init__(self, app: ASGIApp, config: ServiceConfig):
        self.app, self.config = app, config
        self.hosts = {name.lower() for name in config.hosts} | {"localhost"}
        self._is_own = lru_cache(maxsize=256)(self._is_name_or_address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, whole = Body(self.config.limits.body_bytes), False
        scope[_BODY] = body

        async def read() -> Message:
            """Counted, whatever Content-Length says; a piece that does not come in time ends the request."""
            nonlocal whole
            if whole:
                return await receive()
            try:
                message = await wait_for(receive(), self.config.limits.piece_s)
            except TimeoutError:
                raise HTTPException(408, "the body did not come in time") from None
            whole = not message.get("more_body", False)
            body.read += len(message.get("body", b""))
            if body.read > body.limit:
                raise HTTPException(413, f"more than the {body.limit:,} bytes that this takes")
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in _RAW if each[0] not in said)]
            await send(message)

        request = Request(scope)
        if not self.answers_to(request.headers.getlist("host")):
            await refusal(request, Misdirected("not a name of this service", try_="serve --name HOST"))(
                scope, read, say
            )
            return
        try:
            await self.app(scope, read, say)
        except Exception:
            if LOGGED not in scope:  # Starlette raises on what it has answered, for the log of a server
                raise

    def answers_to(self, hosts: list[str]) -> bool:
        """By a name that it was given, or a bare address: a page elsewhere can make its own name lead here, and then
        be trusted by the browser, but no address."""
        return len(hosts) == 1 and self._is_own(hosts[0])

    def _is_name_or_address(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self.hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
