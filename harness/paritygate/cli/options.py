"""Options that several verbs share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paritygate.core.errors import UsageError

# The same expression as paritygate.catalog.select.DEFAULT_CELLS, which is not imported here: `--help` starts light.
DEFAULT_CELLS = "f64,f32,f16,bf16 x single x cpu"

Suite = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="A suite, a preset, a case, or a glob over cases; with --suite several, commas between; tiny if left out.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder of the service; `service` beside the runs if left out."),
]
Within = Annotated[str, typer.Option("--suite", metavar="NAME", help="The suite to look for the cases in.")]
Cells = Annotated[
    str, typer.Option("--cells", metavar="EXPR", help="dtypes x meshes x platforms, commas between names.")
]
CellsOfSuite = Annotated[
    str,
    typer.Option(
        "--cells",
        metavar="EXPR",
        help=f"dtypes x meshes x platforms, commas between names; the suite's own if left out, mostly {DEFAULT_CELLS}.",
    ),
]
ModeName = Annotated[str, typer.Option("--mode", help="isolated, chained, both, gradient or all.")]
RoutingName = Annotated[
    str, typer.Option("--routing", help="Whose choices are gone by: own (the candidate's) or golden, forced.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes at a time; one a core if left out.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, metavar="S", help="Seconds until a worker is stopped.")]
Processes = Annotated[
    str,
    typer.Option("--processes", metavar="N", help="Processes that each mesh lies over; auto: those of a cluster."),
]


class ExecutorName(StrEnum):
    """Where workers are: on this machine, or on the nodes of a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


Executor = Annotated[
    ExecutorName, typer.Option("--executor", help="Where workers are: on this machine, or on those of a Ray cluster.")
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Of the Ray cluster: host:port, ray://host:port, auto (the one that Ray finds) or local (one of this "
        "machine, for as long); if left out auto, or else local.",
    ),
]
Resume = Annotated[
    str, typer.Option("--resume", metavar="RUN", help="Finish a run that was stopped, as it was asked for; or latest.")
]
FaultName = Annotated[
    str,
    typer.Option(
        "--fault",
        metavar="NAME",
        help="Plant a fault of the catalog in the candidate first, to see what is said of it; in its own case, "
        "without SUITE.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, and say the verdict only.")]
NoCache = Annotated[bool, typer.Option("--no-compile-cache", help="Compile everything again.")]
Against = Annotated[
    str,
    typer.Option("--against", metavar="RUN", help="Compare with that run; with what was accepted if left out."),
]


class OutputFormat(StrEnum):
    """For whom the end of a run is told: a person, a program, a test viewer, a runner of GitHub, a pull request."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


FormatName = Annotated[
    OutputFormat | None, typer.Option("--output-format", help="text if left out; --json is short for json.")
]


def chosen_format(name: OutputFormat | None, as_json: bool) -> OutputFormat:
    """Raises UsageError where --json contradicts --output-format."""
    if as_json and name not in (None, OutputFormat.JSON):
        raise UsageError("two formats", where=f"--json --output-format {name}", expected="one of them")
    return OutputFormat.JSON if as_json else name or OutputFormat.TEXT
