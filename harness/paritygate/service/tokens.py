"""Tokens: 256 random bits, of which only the sha256 is kept; scopes, a project, an end."""

import hashlib
import hmac
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Engine, bindparam, or_, select, update

from paritygate.service.audit import note
from paritygate.service.database import reading, writing
from paritygate.service.problems import Conflict, NotFound, Refused
from paritygate.service.tables import token

Scope = Literal["read", "submit", "work", "approve", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "pgt_"
_USED_S = 60.0  # how exactly the last use is known
_TOKEN = re.compile(r"pgt_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


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


@dataclass(frozen=True)
class Known:
    """What is known of a token, which is all but the token."""

    name: str
    scopes: tuple[Scope, ...]
    project: str
    created: float
    created_by: str
    expires: float | None
    revoked: float | None
    used: float | None


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
    if not _NAME.fullmatch(name):
        raise Refused("bad name of a token", where=name[:64], expected="letters, digits, . _ @ -; at most 64")
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
        note(connection, by, "token created", project, name, scopes=list(scopes), expires_s=expires_s)
    return text


def revoke(engine: Engine, name: str, by: str, project: str = "") -> None:
    """From now on it opens nothing, nor does a browser that logged in with it. Raises NotFound.

    With a `project` only where it is one of that project.
    """
    if not _NAME.fullmatch(name):
        raise NotFound("no such token, or revoked before", where=ascii(name[:64]))
    which = [token.c.name == name, token.c.revoked.is_(None)]
    if project:
        which.append(token.c.project == project)
    with writing(engine).begin() as connection:
        changed = connection.execute(update(token).where(*which).values(revoked=time.time()))
        if not changed.rowcount:
            raise NotFound("no such token, or revoked before", where=name)
        note(connection, by, "token revoked", project, name)


def known(engine: Engine, project: str = "", after: str = "", limit: int = 1_000) -> list[Known]:
    """The tokens by name, from behind a name; with a `project` those of that project only."""
    query = select(token).where(token.c.name > after).order_by(token.c.name).limit(limit)
    with engine.connect() as connection:
        found = connection.execute(query.where(token.c.project == project) if project else query).mappings().all()
    return [Known(each["name"], _scopes(each["scopes"]), *(each[name] for name in _KNOWN)) for each in found]


_KNOWN = ("project", "created", "created_by", "expires", "revoked", "used")


def _scopes(text: str) -> tuple[Scope, ...]:
    return tuple(scope for scope in SCOPES if scope in text.split())


def looks_like_one(text: str) -> bool:
    """Whether it could be a token at all: nothing else is looked up."""
    return _TOKEN.fullmatch(text) is not None


def by_hash(engine: Engine, hash: str) -> Caller | None:
    """Whom the token of this sha256 names; None where it names nobody (any more).

    A guess has a chance of 2^-256 for each token: guesses are not counted, and nobody is locked out by another's.
    """
    now = time.time()
    with reading(engine).connect() as connection:
        found = connection.execute(_BY_HASH, {"hash": hash}).first()
    if found is None or not hmac.compare_digest(found.hash, hash):
        return None
    if found.revoked is not None or (found.expires is not None and found.expires <= now):
        return None
    return Caller(found.name, frozenset(_scopes(found.scopes)), found.project)


# Asked before every answer, so made once.
_BY_HASH = select(token.c.name, token.c.hash, token.c.scopes, token.c.project, token.c.revoked, token.c.expires).where(
    token.c.hash == bindparam("hash")
)


class Uses:
    """Notes when tokens were last used, to the minute, beside the requests: no read waits for SQLite's writer."""

    def __init__(self, engine: Engine):
        self._engine, self._noted = engine, dict[str, float]()
        self._writer = ThreadPoolExecutor(1, "token-uses")

    def note(self, hash: str) -> None:
        now = time.time()
        if now - self._noted.get(hash, 0.0) >= _USED_S:
            self._noted[hash] = now
            self._writer.submit(self._write, hash, now)

    def _write(self, hash: str, now: float) -> None:
        older = or_(token.c.used.is_(None), token.c.used < now)
        with writing(self._engine).begin() as connection:
            connection.execute(update(token).where(token.c.hash == hash, older).values(used=now))

    def close(self) -> None:
        """Returns when all that was noted is written."""
        done, self._writer = self._writer, ThreadPoolExecutor(1, "token-uses")
        done.shutdown()
