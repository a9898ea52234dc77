"""What a verb is, and what every verb is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from paritygate.core.errors import ExitCode, UsageError

# Whether what is accepted may be written: goldens, baselines, budgets, programs and the records beside them.
Access = Literal["open", "locked"]


@dataclass(frozen=True)
class Settings:
    """What the environment says, read once in `main`. `cache` is None where there is no place for one.

    `asks` is whether somebody is there to answer a question. `workspace` is the repository's root; `step_summary` and
    `step_outputs` are the files that a step of GitHub Actions is given to write into, None elsewhere. `service` is the
    folder of a service on this machine, and `database` the URL of its database, empty for SQLite in that folder;
    `server` and `token` are for a service elsewhere. `branch`, `commit` and `pull_request` are what a job of GitHub
    Actions is about; empty elsewhere.
    """

    golden: Path
    runs: Path
    cache: Path | None
    extensions: tuple[Path, ...]
    command: tuple[str, ...]
    on_terminal: bool
    color: bool
    width: int
    shows: Literal["bar", "lines", "nothing"] = "nothing"  # of what is going on
    quiet: bool = False  # says the verdict, and nothing else
    access: Access = "open"
    asks: bool = False
    workspace: Path = Path()
    step_summary: Path | None = None
    step_outputs: Path | None = None
    remote: str = ""  # of goldens, where none is named
    service: Path = Path()
    database: str = ""
    server: str = ""
    token: str = field(default="", repr=False)
    branch: str = ""
    commit: str = ""
    pull_request: str = ""


@dataclass(frozen=True)
class Verb:
    """One verb: `function` takes `Context` first, declares its parameters as typer does, and returns the exit code.

    `writes` is given these parameters by name, and says which of what is accepted the verb will change; empty where
    nothing. Under `--locked` such a call is refused before it begins.
    """

    name: str
    function: Callable[..., ExitCode]
    help: str
    writes: Callable[[Mapping[str, Any]], str] = lambda given: ""

    def called(self, **given: Any) -> ExitCode:
        """Runs the verb, unless it would write what is locked. The one place that decides this."""
        if (what := self.writes(given)) and settings_of(given["context"]).access == "locked":
            raise UsageError(
                "locked: nothing that is accepted may be written",
                where=f"paritygate {self.name}",
                expected="a verb that only reads",
                got=f"one that writes {what}",
                try_="the same where a person reviews it, without --locked and PARITYGATE_LOCKED",
            )
        return self.function(**given)


Context = typer.Context
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder name or path, or latest.")]


def settings_of(context: typer.Context) -> Settings:
    """What the environment says, and `--quiet` of a verb that has it."""
    settings = context.obj
    assert isinstance(settings, Settings)
    return replace(settings, shows="nothing", quiet=True) if context.params.get("quiet") else settings
