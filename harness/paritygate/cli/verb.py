"""What a verb is, and what every verb is given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from paritygate.core.errors import ExitCode


@dataclass(frozen=True)
class Settings:
    """What the environment says, read once in `main`. `cache` is None where there is no place for one."""

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


@dataclass(frozen=True)
class Verb:
    """One verb: `function` takes `Context` first, declares its parameters as typer does, and returns the exit code."""

    name: str
    function: Callable[..., ExitCode]
    help: str


Context = typer.Context
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder name or path, or latest.")]


def settings_of(context: typer.Context) -> Settings:
    """What the environment says, and `--quiet` of a verb that has it."""
    settings = context.obj
    assert isinstance(settings, Settings)
    return replace(settings, shows="nothing", quiet=True) if context.params.get("quiet") else settings
