"""What verbs that talk to a service share: where it is, and as whom they come."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from paritygate.cli.verb import Settings
from paritygate.core.errors import UsageError
from paritygate.core.trust import Trust

if TYPE_CHECKING:
    from paritygate.client.client import Client
    from paritygate.client.transport import Transport

Server = Annotated[
    str,
    typer.Option(
        "--server", metavar="URL", help="The service; PARITYGATE_SERVER if left out. PARITYGATE_TOKEN says who."
    ),
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Send the token unencrypted: where the network in between is yours alone.")
]
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="The project of the service.")]


@contextmanager
def client_installed() -> Iterator[None]:
    """Raises UsageError where the extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as reason:
        if reason.name != "httpx2":
            raise
        raise UsageError("the client is not installed", try_="pip install 'paritygate[client]'") from None


def trust_of(plain_http: bool) -> Trust:
    return "any-network" if plain_http else "https"


def address_of(settings: Settings, server: str) -> str:
    """Raises UsageError where nothing says which service."""
    if not (server or settings.server):
        raise UsageError("which service?", where="--server", expected="--server URL, or PARITYGATE_SERVER")
    return server or settings.server


@contextmanager
def client_to(settings: Settings, server: str, project: str, plain_http: bool) -> "Iterator[Client]":
    """Raises UsageError where nothing says which service, or which project."""
    if not project:
        raise UsageError("which project?", where="--project", expected="--project NAME")
    with client_installed():
        from paritygate.client.client import Client

        with Client(transport_to(settings, server, plain_http)) as service:
            yield service


def transport_to(settings: Settings, server: str, plain_http: bool) -> "Transport":
    from paritygate.client.transport import Transport

    return Transport(address_of(settings, server), settings.token, trust_of(plain_http))


def branch_here(settings: Settings) -> str:
    """As the job's environment names it, else git; empty where neither does."""
    if settings.branch:
        return settings.branch
    command = ["git", "-C", str(settings.workspace), "branch", "--show-current"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
