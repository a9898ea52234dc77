"""`worker`: takes the tasks of a service that its labels allow, and replays them here."""

from pathlib import Path
from typing import Annotated

import typer

from paritygate.cli.options import Workers
from paritygate.cli.remote import PlainHttp, Server, address_of, client_installed, trust_of
from paritygate.cli.verb import Context, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError

Labels = Annotated[
    str,
    typer.Option("--labels", metavar="NAMES", help="What it can do: platforms and whatever jobs ask for, gpu,h100."),
]
Candidates = Annotated[
    list[Path] | None,
    typer.Option("--candidate", metavar="FOLDER", help="A checkout to replay; again for more. This one if left out."),
]
Name = Annotated[str, typer.Option("--name", help="Who it is, in the service; that of the machine if left out.")]
UntilIdle = Annotated[bool, typer.Option("--until-idle", help="End where there is nothing to do.")]
Poll = Annotated[float, typer.Option("--poll", min=0.1, metavar="S", help="Seconds until it asks again for a task.")]
Home = Annotated[
    Path | None,
    typer.Option("--folder", metavar="FOLDER", help="For its runs and what is compiled; else in the cache."),
]


def worker(
    context: Context,
    server: Server = "",
    labels: Labels = "cpu",
    candidate: Candidates = None,
    name: Name = "",
    until_idle: UntilIdle = False,
    poll: Poll = 5.0,
    workers: Workers = None,
    folder: Home = None,
    plain_http: PlainHttp = False,
) -> ExitCode:
    import socket
    import time

    from paritygate.cli.output import say

    with client_installed():
        from paritygate.client.work import Work
        from paritygate.client.worker import Worker, Workplace, name_of
    settings = settings_of(context)
    url, name = address_of(settings, server), name or name_of(socket.gethostname())
    if folder is None:
        if settings.cache is None:
            raise UsageError("no place for what it does", where="--folder", expected="--folder, HOME or XDG_CACHE_HOME")
        folder = settings.cache.parent / "worker" / name_of(name)
    candidates = tuple(each.resolve() for each in candidate or [Path()])
    chosen = tuple(dict.fromkeys(label for label in labels.replace(",", " ").split()))
    place = Workplace(name, chosen, candidates, folder.resolve(), workers)

    def tell(line: str) -> None:
        say(f"{time.strftime('%H:%M:%S')}  {line}")

    at = Worker(place, lambda: Work(url, settings.token, trust_of(plain_http)), tell)
    at.work(poll, "idle" if until_idle else "never")
    return ExitCode.PASS


VERB = Verb("worker", worker, "Take the tasks of a service that its labels allow, and replay them here.")
