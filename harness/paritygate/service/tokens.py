"""Tokens: 256 random bits, of which only the sha256 is kept; scopes, a project, an end."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Engine, select, update

from paritygate.service.database import writing
from paritygate.service.problems import Conflict, NotFound, Refused
from paritygate.service.tables import token

Scope = Literal["read", "submit", "work", "approve", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "pgt_"
_USED_S = 60.0  # how exactly the last use is known: a write for each request would make reads wait


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of a token, what it may do, and in which project only; empty: in all."""

    name: str
    scopes: frozenset[Scope]
    project: str = ""

    def may(self, scope: Scope, project: str = "") -> bool:
        """Whether it may do this in a project; where none is given, in any: what it sees is then up to the route.

        `admin` may everything."""
        allowed = scope in self.scopes or "admin" in self.scopes
        return allowed and (not project or self.project in ("", project))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """`read,submit`; raises Refused on an unknown one, or none."""
    given = {part for part in text.replace(",", " ").split()}
    if not given or given - {*SCOPES}:
        raise Refused("bad scopes", where=text, expected=f"some of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


def create(
    engine: Engine,
    name: str,
    scopes: tuple[Scope, ...],
    by: str,
    project: str = "",
    expires_s: float | None = None,
) -> str:
    """Makes a token and returns it, the only time that it is seen. Raises Conflict where the name is taken."""
    text = PREFIX + secrets.token_urlsafe(32)
    now = time.time()
    with writing(engine).begin() as connection:
        if connection.execute(select(token.c.id).where(token.c.name == name)).first():
            raise Conflict("token of that name", where=name, expected="a new name: the audit log goes by it")
        connection.execute(
            token.insert().values(
                name=name,
                hash=digest(text),
                scopes=" ".join(scopes),
                project=project,
                created=now,
                created_by=by,
                expires=None if expires_s is None else now + expires_s,
            )
        )
    return text


def revoke(engine: Engine, name: str) -> None:
    """From now on it opens nothing, nor does a browser that logged in with it. Raises NotFound."""
    with writing(engine).begin() as connection:
        changed = connection.execute(
            update(token).where(token.c.name == name, token.c.revoked.is_(None)).values(revoked=time.time())
        )
        if not changed.rowcount:
            raise NotFound("no such token, or revoked before", where=name)


def caller_of(engine: Engine, text: str) -> Caller | None:
    """Whom a token names; None where it names nobody (any more)."""
    if not text.startswith(PREFIX) or len(text) > 128:
        return None
    return by_hash(engine, digest(text))


def by_hash(engine: Engine, hash: str) -> Caller | None:
    """The same, for a session that a token began."""
    now = time.time()
    with engine.connect() as connection:
        found = connection.execute(select(token).where(token.c.hash == hash)).mappings().first()
    if found is None or not hmac.compare_digest(found["hash"], hash):
        return None
    if found["revoked"] is not None or (found["expires"] is not None and found["expires"] <= now):
        return None
    if found["used"] is None or now - found["used"] >= _USED_S:
        with writing(engine).begin() as connection:
            connection.execute(update(token).where(token.c.id == found["id"]).values(used=now))
    return Caller(
        found["name"], frozenset(scope for scope in SCOPES if scope in found["scopes"].split()), found["project"]
    )
