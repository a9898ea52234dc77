"""An engine for SQLite or PostgreSQL, and its tables brought up to date by Alembic."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoneFree

from paritygate.core.errors import InfrastructureError, UsageError
from paritygate.service.problems import Away, Full

MIGRATIONS = Path(__file__).parent / "migrations"
# Of each connection. Less than FULL would lose the last changes when the power fails: a token that was revoked, a line
# of the audit log. It costs each transaction that changes something one wait for the disk, and a read nothing.
# A row's history is in as many places of the file as it has runs: they are mapped, not read.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=30000",
    f"mmap_size={1 << 32}",
)
# Of PostgreSQL, unless the URL says otherwise: until there is a connection, and until what was sent on one has come.
_PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 30_000}  # s, ms


def connect(url: str, pool: int = 16) -> Engine:
    """An engine on SQLite or on PostgreSQL by psycopg. Raises UsageError on a URL of anything else."""
    try:
        parsed = make_url(url)
    except ArgumentError as reason:
        raise _bad_url(str(reason)) from None
    if parsed.drivername == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            file = Path(parsed.database)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(0o600)  # it has the secret that signs cookies; what SQLite lays beside it gets the same mode
        engine = create_engine(parsed, pool_size=pool, max_overflow=pool, connect_args={"timeout": 30})
        event.listen(engine, "connect", _as_we_need_it)
        event.listen(engine, "begin", _begin)
        return engine
    if parsed.drivername == "postgresql+psycopg":
        try:
            patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
            engine = create_engine(
                parsed, pool_size=pool, max_overflow=pool, isolation_level="AUTOCOMMIT", connect_args=patience
            )
        except (ImportError, NoSuchModuleError):
            raise UsageError(
                "PostgreSQL needs a driver", where="PARITYGATE_DB", try_="pip install 'paritygate[serve,postgres]'"
            ) from None
        _Idle(engine).listen()
        return engine
    raise _bad_url(parsed.render_as_string(hide_password=True))


def _bad_url(got: str) -> UsageError:
    return UsageError(
        "no database of this kind",
        where="PARITYGATE_DB",
        expected="sqlite:////PATH or postgresql+psycopg://USER@HOST/NAME",
        got=got,
    )


class _Idle:
    """Asks a connection whether it still is one, where it was not used for a while: before each use it would cost as
    much as the shorter reads."""

    AFTER_S = 1.0

    def __init__(self, engine: Engine):
        self._engine = engine

    def listen(self) -> None:
        event.listen(self._engine, "checkin", self._rests)
        event.listen(self._engine, "checkout", self._is_used)

    def _rests(self, connection: Any, record: Any) -> None:
        record.info["rests"] = time.monotonic()

    def _is_used(self, connection: Any, record: Any, proxy: Any) -> None:
        rests = record.info.get("rests")  # None: it has just been made
        if rests is None or time.monotonic() - rests < self.AFTER_S:
            return
        dialect = self._engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as reason:
            raise DisconnectionError(str(reason)) from reason  # upon which the pool makes another


# What SQLite says where another process, or the disk, has to do something first.
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PASSES = (*_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def away(reason: SQLAlchemyError) -> Away | Full | None:
    """What is said where a database is locked for too long, does not answer, or has no room; None where the fault is
    ours."""
    cause, got = reason.orig if isinstance(reason, DBAPIError) else None, ""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without what it adds to a code
        if code == sqlite3.SQLITE_FULL:
            return Full("no room left for the database")
        if code not in _PASSES:
            return None
        got = "another process holds it" if code in _LOCKED else ""
    elif isinstance(reason, NoneFree):
        got = "all connections are in use"
    elif not (isinstance(reason, OperationalError) or getattr(reason, "connection_invalidated", False)):
        return None
    try_ = "again in a few seconds; if it lasts, whoever runs the service finds why in its log"
    return Away("the database does not answer now", got=got, try_=try_)


def _as_we_need_it(connection: Any, record: Any) -> None:
    """Readers beside one writer, keys that hold; and no transaction of the driver's own making."""
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Any) -> None:
    """One that will write says so at once, or two that read first would each wait for the other to end."""
    options = connection.get_execution_options()
    if not options.get("reads", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def writing(engine: Engine) -> Engine:
    """The engine for transactions that write: `with writing(engine).begin() as connection`."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writes=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


@lru_cache(maxsize=16)
def reading(engine: Engine) -> Engine:
    """The engine for single statements that read: without a transaction around each, which costs as much as they do.

    On PostgreSQL whatever does not write is read so: to change how a connection is used costs as much, too.
    """
    return engine.execution_options(reads=True)


def _alembic(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Brings the tables to a revision; a database that is empty gets all of them. One server does it at a time."""
    with _MIGRATING, _alone(engine):
        _refuse_newer(engine)
        command.upgrade(_alembic(engine), revision)


def _refuse_newer(engine: Engine) -> None:
    """Raises InfrastructureError where a later version of the code has brought the tables further than this one can."""
    at, needed = revisions(engine)
    known = {each.revision for each in ScriptDirectory.from_config(_alembic(engine)).walk_revisions()}
    if at is not None and at not in known:
        raise InfrastructureError(
            "database is of a newer version of paritygate",
            where=engine.url.render_as_string(hide_password=True),
            expected=f"revision {needed}, or one before it",
            got=f"revision {at}",
            try_="the version that made it, or the copy from before the upgrade",
        )


_MIGRATING = Lock()  # Alembic's context is one for a process
_LOCK = 0x70617269  # ours, of PostgreSQL's advisory locks


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """SQLite has one writer anyway; on PostgreSQL two that start at once would both make the first table."""
    if engine.dialect.name != "postgresql":
        yield
        return
    with writing(engine).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """The revision that the database is at, and the one that this code needs."""
    script = ScriptDirectory.from_config(_alembic(engine))
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()
