"""The commands that show one row again, to be copied: replay it, show it, explain it."""

import shlex
from dataclasses import dataclass

from paritygate.core.cell import Cell, Mode
from paritygate.core.drift import Row
from paritygate.core.run import RunInfo
from paritygate.core.site import Kind

EXPLAINS = "explains it"


@dataclass(frozen=True)
class Command:
    """`does` says in a few words what it is for; `text` is for a shell.

    In a run's templates `{case}`, `{cell}`, `{mode}` and `{row}` stand for the row's own, each a word of the shell, and
    `{{` and `}}` for braces: `static/commands.js` puts them in as `str.format` does.
    """

    does: str
    text: str


def templates(info: RunInfo) -> tuple[Command, ...]:
    """What a reader of any row of a run can do next; none where nothing was run."""
    if any(Cell.parse(cell).is_compiled for cell in info.cells):
        return ()
    run, suite, fault = map(_literal, (info.id, info.suite, info.fault))
    replay = f"paritygate run {{case}} --suite {suite} --cells {{cell}} --mode {{mode}}"
    if info.fault:
        replay += f" --fault {fault}"
    if info.routing != "own":
        replay += f" --routing {info.routing}"
    if info.processes > 1:
        replay += f" --processes {info.processes}"
    return (
        Command("replays it", replay),
        Command("shows it", f"paritygate show {run} {{row}}"),
        Command(EXPLAINS, f"paritygate explain {run} {{row}}"),
    )


def _literal(word: str) -> str:
    """A word of the shell, as it stands in a template."""
    return shlex.quote(word).replace("{", "{{").replace("}", "}}")


def commands(info: RunInfo, row: Row) -> list[Command]:
    """What a reader of this row can do next; a gradient, and what is no float or was not measured, is not explained."""
    drift = row.drift
    words = {"case": drift.case, "cell": drift.cell, "mode": drift.mode}
    words["row"] = f"{drift.case}/{drift.cell}/{drift.mode}/{drift.address}"
    quoted = {name: shlex.quote(word) for name, word in words.items()}
    explained = drift.metrics and drift.mode != Mode.GRADIENT and drift.kind == Kind.FLOAT
    return [
        Command(each.does, each.text.format(**quoted)) for each in templates(info) if explained or each.does != EXPLAINS
    ]
