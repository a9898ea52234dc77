"""`serve`: a team's runs, history, jobs and gate over HTTP, on this machine or, with tokens, for others."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from paritygate.cli.options import Data
from paritygate.cli.verb import Context, Verb, settings_of
from paritygate.core.errors import ExitCode

if TYPE_CHECKING:
    import socket


class Unnamed(StrEnum):
    LOOPBACK = "loopback"
    NOBODY = "nobody"


Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 or :: is everywhere.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 is any that is free.")]
Who = Annotated[
    Unnamed | None,
    typer.Option("--unnamed", help="Who may come without a token: everybody on this machine, or nobody."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name", metavar="HOST", help="A name that browsers reach it by; again for more. Others are refused."
    ),
]
Proxy = Annotated[
    str,
    typer.Option("--behind", metavar="ADDRESS", help="A proxy whose X-Forwarded-For and -Proto are believed."),
]
Lease = Annotated[
    float,
    typer.Option(
        "--lease",
        min=1.0,
        metavar="S",
        help="Seconds without a heartbeat until another worker goes on: a busy host may keep one waiting.",
    ),
]
Processes = Annotated[
    int,
    typer.Option("--processes", min=1, max=64, help="How many answer at one address: each keeps one core busy."),
]
Says = Annotated[bool, typer.Option("--access-log", help="Say each request.")]


def serve(
    context: Context,
    host: Host = "127.0.0.1",
    port: Port = 8321,
    data: Data = None,
    unnamed: Who = None,
    name: Names = None,
    behind: Proxy = "",
    lease: Lease = 60.0,
    processes: Processes = 1,
    access_log: Says = False,
) -> ExitCode:
    from paritygate.cli.output import say
    from paritygate.cli.serving import config_of, listening, service_installed

    with service_installed():
        from paritygate.service.server import serve_on

        config = config_of(settings_of(context), host, data, unnamed.value if unnamed else None, name or [], behind)
        config = replace(config, lease_s=lease)
        with listening(host, port) as socket:
            say(f"serving {_url(socket)}", f"data    {config.data}", _whom(config.unnamed))
            serve_on(socket, config, behind, "each request" if access_log else "problems", processes)
    return ExitCode.PASS


def _url(socket: "socket.socket") -> str:
    host, port = socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _whom(unnamed: str) -> str:
    return "without a token: everybody on this machine" if unnamed == "loopback" else "without a token: nobody"


VERB = Verb("serve", serve, "Serve a team's runs, history, jobs and gate over HTTP.")
