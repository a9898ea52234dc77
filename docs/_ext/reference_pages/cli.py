"""The command line: each verb with all that it takes, from the typer app; exit codes; the environment."""

import re
from typing import Any

import typer

from paritygate.cli.main import ABOUT, build_app
from paritygate.core import errors
from paritygate.core.errors import ExitCode, HarnessError

from reference_pages.markdown import UndocumentedError, code, documentation, prose, table


def verbs() -> str:
    """One heading a verb. Raises UndocumentedError where a verb or what it takes has no help."""
    group: Any = typer.main.get_command(build_app())
    whole = typer.Context(group, info_name="paritygate")
    parts = [_options("every verb", group, whole)]
    for name, command in group.commands.items():
        if not command.help:
            raise UndocumentedError(f"verb {name} has no help")
        context = typer.Context(command, info_name=name, parent=whole)
        usage = command.get_usage(context).removeprefix("Usage: ").strip()
        parts += [f"## {name}", prose(command.help), f"```text\n{' '.join(usage.split())}\n```"]
        parts.append(_options(f"verb {name}", command, context))
    return "\n\n".join(parts) + "\n"


def _options(of: str, command: Any, context: Any) -> str:
    rows = []
    for parameter in command.params:
        if not getattr(parameter, "help", None):
            raise UndocumentedError(f"{of}: {parameter.opts[-1]} has no help")
        if parameter.name != "help":
            written, said = parameter.get_help_record(context)
            rows.append((code(written), prose(said)))
    return table(("takes", ""), rows) if rows else ""


def exit_codes() -> str:
    """Each exit code with the words of `--help`, and the errors that end with it."""
    said = _exit_words()
    rows = []
    for member in ExitCode:
        if member not in said:
            raise UndocumentedError(f"exit code {int(member)} is not in the help of the command line")
        raised = [_error(cls) for cls in vars(errors).values() if _ends_with(cls, member)]
        rows.append((code(int(member)), prose(said[member]), " ".join(raised)))
    return table(("code", "means", "errors"), rows)


def _error(cls: type) -> str:
    return f"`{cls.__name__}`: {prose(documentation(cls, cls.__name__).splitlines()[0])}"


def _ends_with(cls: Any, member: ExitCode) -> bool:
    own = isinstance(cls, type) and issubclass(cls, HarnessError) and cls is not HarnessError
    return own and cls.exit_code is member


def _exit_words() -> dict[ExitCode, str]:
    """`Exit codes: 0 pass, 1 drift, …, 3 golden missing, stale or corrupt, …` by code."""
    text = " ".join(_paragraph("Exit codes: ").split()).rstrip(".")
    numbers = "|".join(str(int(member)) for member in ExitCode)
    found = re.finditer(rf"\b({numbers}) (.*?)(?=, (?:{numbers}) |$)", text)
    return {ExitCode(int(each[1])): each[2] for each in found}


def environment() -> str:
    return prose(" ".join(_paragraph("Environment: ").split())) + "\n"


def _paragraph(head: str) -> str:
    (found,) = (part.removeprefix(head) for part in ABOUT.split("\n\n") if part.startswith(head))
    return found
