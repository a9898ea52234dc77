"""A service on this machine, for verbs: its folder and its database, as the environment or an option says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paritygate.cli.serving import service_installed
from paritygate.cli.verb import Settings

if TYPE_CHECKING:
    from paritygate.service.app import Service

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder of the service; beside the folder of runs if left out."),
]


def service_here(settings: Settings, data: Path | None) -> "Service":
    """Its tables are as they are: `database.migrate` brings them up to date. Raises UsageError without the extra."""
    with service_installed():
        from paritygate.service.app import Service
    from paritygate.service.config import ServiceConfig
    from paritygate.service.database import connect

    folder = settings.service if data is None else data
    if not settings.database:
        folder.mkdir(parents=True, exist_ok=True)
    config = ServiceConfig.beside(folder, settings.runs, settings.golden, settings.database)
    return Service(config, connect(config.database))
