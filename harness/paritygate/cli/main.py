"""Entry point of the command `paritygate`: reads the environment, finds the verbs, and turns errors into exit codes."""

import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from paritygate.cli.output import say
from paritygate.cli.signals import terminated_as_interrupted
from paritygate.cli.streams import readers_may_leave
from paritygate.cli.verb import Access, Settings, Verb
from paritygate.core.errors import ExitCode, HarnessError, InfrastructureError, ReplayInterrupted, Terminated
from paritygate.core.registry import discover, extend

ABOUT = """Does the JAX port of a PyTorch model compute the same thing, where does it not, and why.

Exit codes: 0 pass, 1 drift, 2 usage, 3 golden missing, stale or corrupt, 4 infrastructure, 5 nothing compared,
130 interrupted, 143 terminated.

Environment: PARITYGATE_GOLDEN and PARITYGATE_RUNS name the folders of goldens and of runs, PARITYGATE_PATH directories
with further families, dtypes, metrics, sections and verbs. PARITYGATE_LOCKED=1 is --locked. PARITYGATE_REMOTE is where
goldens are pulled from and pushed to. PARITYGATE_DB names the database of a service here; PARITYGATE_SERVER and
PARITYGATE_TOKEN say which service to talk to, and as whom.
"""

UNLOCKED = ("", "0", "false", "no")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Runs one verb and returns its exit code; every error ends here, as text on standard error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    environ = os.environ if environ is None else environ
    with readers_may_leave(), terminated_as_interrupted():
        return int(_run(arguments, environ))


def _run(arguments: list[str], environ: Mapping[str, str]) -> int:
    debug = "--debug" in arguments or bool(environ.get("PARITYGATE_DEBUG"))
    locked = "--locked" in arguments or environ.get("PARITYGATE_LOCKED", "").lower() not in UNLOCKED
    arguments = [argument for argument in arguments if argument not in ("--debug", "--locked")]
    try:
        settings = read_settings(environ, arguments, "locked" if locked else "open")
        extend(settings.extensions)
        command = typer.main.get_command(build_app())
        command.main(arguments, prog_name="paritygate", obj=settings)
    except SystemExit as end:  # typer ends every verb with one
        return end.code if isinstance(end.code, int) else ExitCode.PASS
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except HarnessError as reason:
        if debug:
            raise
        say(str(reason), to=sys.stderr)
        return reason.exit_code
    except Exception as reason:
        if debug:
            raise
        if isinstance(reason, OSError) and reason.filename is not None:
            say(str(_refused_file(reason)), to=sys.stderr)
            return ExitCode.INFRASTRUCTURE
        unexpected = f"unexpected {type(reason).__name__}: {reason}\n  try       the same command with --debug"
        say(unexpected, to=sys.stderr)
        return ExitCode.INFRASTRUCTURE
    return ExitCode.PASS


def _refused_file(reason: OSError) -> InfrastructureError:
    """A folder nobody may write to, a full disk: not of the harness's making, and said of which file."""
    return InfrastructureError(
        "file cannot be read or written",
        where=str(reason.filename),
        got=reason.strerror or str(reason),
        try_="room on that disk and leave to write there, or another folder: "
        "PARITYGATE_RUNS, PARITYGATE_GOLDEN, of a service --data",
    )


def build_app() -> typer.Typer:
    """The typer app with one command a verb."""
    app = typer.Typer(
        help=ABOUT,
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def options(
        debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error. Any place will do."),
        locked: bool = typer.Option(False, "--locked", help="Write nothing that is accepted. Any place will do."),
    ) -> None:
        pass

    for verb in discover("paritygate.cli.verbs", "VERB", Verb).values():
        app.command(verb.name, help=verb.help)(_ending(verb))
    return app


def _ending(verb: Verb) -> Callable[..., None]:
    """The verb with its return value as exit code. Typer gives every parameter by name."""

    @functools.wraps(verb.function)
    def call(**given: Any) -> None:
        try:
            code = verb.called(**given)
        except KeyboardInterrupt as stop:
            code = _stopped(stop)
        raise typer.Exit(int(code))

    return call


def _stopped(stop: KeyboardInterrupt) -> ExitCode:
    """Says what ended the verb, and how it goes on."""
    by = stop.by if isinstance(stop, ReplayInterrupted) else stop
    code = ExitCode.TERMINATED if isinstance(by, Terminated) else ExitCode.INTERRUPTED
    print(code.name.lower(), *getattr(stop, "__notes__", ()), sep="\n", file=sys.stderr)
    return code


def read_settings(environ: Mapping[str, str], arguments: Sequence[str], access: Access = "open") -> Settings:
    """Everything that a verb may know of the environment."""
    root, dumb = _root(Path.cwd()), environ.get("TERM") == "dumb"
    on_terminal, watched = sys.stdout.isatty() and not dumb, sys.stderr.isatty()
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    summary, outputs = environ.get("GITHUB_STEP_SUMMARY"), environ.get("GITHUB_OUTPUT")
    cache = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    runs = Path(environ.get("PARITYGATE_RUNS") or root / "reports" / "runs")
    request = re.fullmatch(r"refs/pull/([0-9]+)/merge", environ.get("GITHUB_REF", ""))
    return Settings(
        golden=Path(environ.get("PARITYGATE_GOLDEN") or root / "golden"),
        runs=runs,
        cache=Path(cache) / "paritygate" / "xla" if cache else None,
        extensions=tuple(Path(p).resolve() for p in environ.get("PARITYGATE_PATH", "").split(os.pathsep) if p),
        command=("paritygate", *arguments),
        on_terminal=on_terminal,
        color=on_terminal and not environ.get("NO_COLOR"),
        width=min(max(shutil.get_terminal_size((100, 24)).columns, 60), 160),
        shows="lines" if in_ci or (watched and dumb) else "bar" if watched else "nothing",
        access=access,
        asks=sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty(),
        workspace=Path(environ.get("GITHUB_WORKSPACE") or root),
        step_summary=Path(summary) if summary else None,
        step_outputs=Path(outputs) if outputs else None,
        remote=environ.get("PARITYGATE_REMOTE", ""),
        service=runs.parent / "service",
        database=environ.get("PARITYGATE_DB", ""),
        server=environ.get("PARITYGATE_SERVER", ""),
        token=environ.get("PARITYGATE_TOKEN", ""),
        branch=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME", ""),
        commit=environ.get("GITHUB_SHA", ""),
        pull_request=request[1] if request else "",
    )


def _root(folder: Path) -> Path:
    """The nearest folder above with `golden/budgets.toml`, or the folder itself."""
    for above in (folder, *folder.parents):
        if (above / "golden" / "budgets.toml").is_file():
            return above
    return folder
