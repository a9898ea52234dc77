"""What verbs need that run a service or look into its database on this machine: its configuration, and its server."""

import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from paritygate.cli.verb import Settings
from paritygate.core.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from paritygate.service.app import Service
    from paritygate.service.config import ServiceConfig

_EVERYWHERE = ("0.0.0.0", "::", "")


@contextmanager
def service_installed() -> Iterator[None]:
    """Raises UsageError where the extra is not installed, InfrastructureError where the database does not answer."""
    try:
        yield
    except ModuleNotFoundError as reason:
        if (reason.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise UsageError(
            "the service is not installed", got=f"no {reason.name}", try_="pip install 'paritygate[serve]'"
        ) from None
    except Exception as reason:
        told = _told(reason) if type(reason).__module__ == "sqlalchemy.exc" else None  # which is there, then
        if told is None:
            raise
        raise told from reason


def _told(reason: Exception) -> InfrastructureError | None:
    """A database that is locked or away, in its own words, which are for whoever runs it."""
    from sqlalchemy.exc import SQLAlchemyError

    from paritygate.service.database import away

    found = away(reason) if isinstance(reason, SQLAlchemyError) else None
    if found is None:
        return None
    got = str(getattr(reason, "orig", None) or reason).strip()
    return InfrastructureError(found.what, where="PARITYGATE_DB", got=got, try_="the same command, once it is there")


_EXTRA = (
    "fastapi",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "itsdangerous",
    "prometheus_client",
    "pydantic",
    "orjson",
    "python_multipart",
)


def config_here(settings: Settings, data: Path | None) -> "ServiceConfig":
    """Of the service on this machine, as the environment or an option says where it is."""
    from paritygate.service.config import ServiceConfig

    folder = (data or settings.service).resolve()
    return ServiceConfig.beside(folder, settings.runs.resolve(), settings.golden.resolve(), settings.database)


def require_service(config: "ServiceConfig") -> None:
    """Raises UsageError where there is none: of a folder that is mistyped nothing is to be made, or said."""
    file = config.data / "service.db"
    if config.database == f"sqlite:///{file}" and not file.is_file() and not (config.data / "projects").is_dir():
        raise UsageError(
            "no service here", where=str(config.data), try_="--data or PARITYGATE_DB, as `paritygate serve` has it"
        )


@contextmanager
def service_here(
    settings: Settings, data: Path | None, which: Literal["is there", "may be new"] = "is there"
) -> "Iterator[Service]":
    """For who looks into its database. Its tables are as they are: `database.migrate` brings them up to date."""
    from paritygate.service.app import Service
    from paritygate.service.database import connect

    config = config_here(settings, data)
    if which == "is there":
        require_service(config)
    service = Service(config, connect(config.database))
    try:
        yield service
    finally:
        service.engine.dispose()


def config_of(
    settings: Settings,
    host: str,
    data: Path | None,
    unnamed: Literal["loopback", "nobody"] | None,
    names: Sequence[str],
    behind: str = "",
) -> "ServiceConfig":
    """On loopback whoever is on this machine may come; elsewhere, and behind a proxy, nobody without a token, and one
    has to be there. Brings the database up to date: what is wrong with it is said before anything is served."""
    local = _is_loopback(host) and not behind
    if unnamed == "loopback" and not local:
        raise UsageError(
            "unnamed callers only over loopback",
            where=f"--unnamed loopback --host {host}" + (f" --behind {behind}" if behind else ""),
            try_="--host 127.0.0.1, or tokens: paritygate token create NAME --scopes read",
        )
    hosts = [*names, *([host] if host not in _EVERYWHERE else [])]
    allowed = unnamed or ("loopback" if local else "nobody")
    config = replace(config_here(settings, data), unnamed=allowed, hosts=tuple(hosts))
    config.data.mkdir(parents=True, exist_ok=True)
    with opened(config) as engine:
        if config.unnamed == "nobody":
            _require_token(engine, config, f" --data {shlex.quote(str(data))}" if data else "")
    return config


def _is_loopback(host: str) -> bool:
    """Whether all that a name stands for is this machine."""
    import ipaddress

    if host in _EVERYWHERE:
        return False
    try:
        found = socket.getaddrinfo(host, None)
    except OSError as reason:
        raise UsageError("no such address", where=f"--host {host}", got=str(reason)) from None
    return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


def _require_token(engine: "Engine", config: "ServiceConfig", option: str) -> None:
    from paritygate.service.tokens import known

    found = [each for each in known(engine) if not each.revoked and not 0 < (each.expires or 0) <= time.time()]
    if not found:
        raise UsageError(
            "nobody could come in: there is no token",
            where=str(config.data),
            expected="a token, for callers without one are refused",
            try_=f"paritygate token create NAME --scopes admin{option}",
        )


@contextmanager
def opened(config: "ServiceConfig") -> Iterator["Engine"]:
    """The database of a service, brought up to date."""
    from paritygate.service.database import connect, migrate

    engine = connect(config.database)
    try:
        if config.data.is_dir() and not (ignored := config.data / ".gitignore").exists():
            ignored.write_text("*\n")  # beside runs it lies in a checkout: not to be committed, nor to make it dirty
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises InfrastructureError where somebody else does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as reason:
        raise InfrastructureError(
            "cannot listen there", where=f"{host}:{port}", got=reason.strerror or str(reason), try_="another --port"
        ) from None
    with made:
        yield made
