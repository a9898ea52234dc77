"""A service that is attacked: its projects, callers of each kind, and bytes over a socket."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.service.sending import Sender, manifest
from paritygate.service import tokens


class Got(NamedTuple):
    """An answer, as far as the table tells it: its status, and what it says or does."""

    status: int
    what: str


@dataclass
class World:
    """A service with two projects, a run in the first, and a token of each kind."""

    app: FastAPI
    client: TestClient
    folder: Path  # a run that may be sent
    data: Path
    port: int  # where the same application answers over a socket
    made: dict[str, str] = field(default_factory=dict)

    def token(self, *scopes: tokens.Scope, project: str = "", expires_s: float | None = None) -> str:
        key = f"t{len(self.made)}"
        engine = self.app.state.service.engine
        self.made[key] = tokens.create(engine, key, scopes or ("admin",), "tests", project, expires_s)
        return self.made[key]

    def name_of(self, token: str) -> str:
        return next(name for name, text in self.made.items() if text == token)

    def headers(self, *scopes: tokens.Scope, **more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(*scopes, **more)}"}

    def sender(self, **more: Any) -> Sender:
        return Sender(self.client, self.headers("submit", **more))

    def begun(self) -> tuple[Sender, str]:
        sender = self.sender()
        return sender, sender.begin(manifest(self.folder)).json()["upload"]

    def logged_in(self, token: str) -> dict[str, str]:
        """The cookie of a browser that logged in."""
        form = {"token": token, "form_token": self.form_token({})}
        answer = self.client.post("/login", data=form, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        self.client.cookies.clear()
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}

    def form_token(self, headers: Mapping[str, str]) -> str:
        page = self.client.get("/login", headers=dict(headers)).text
        return page.partition('name="form_token" value="')[2].partition('"')[0]

    def raw(self, *pieces: bytes, pause_s: float = 0.0) -> str:
        """What a socket gets for these bytes, until the other side closes or has nothing more to say."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as at:
            for piece in pieces:
                at.sendall(piece)
                time.sleep(pause_s)
            at.settimeout(2)
            came = b""
            try:
                while more := at.recv(1 << 16):
                    came += more
            except TimeoutError:
                pass
        return came.decode("latin-1")
