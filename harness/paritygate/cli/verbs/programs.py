"""`programs`: what compiled programs exchange and hold that was not recorded; the only writer of what is recorded."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from paritygate.cli.options import Quiet
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError

Of = Annotated[
    str, typer.Option("--select", metavar="GLOB", help="The cells to record, such as 'bf16/*'; all if left out.")
]
Accept = Annotated[bool, typer.Option("--accept", help="Record the programs of the run in place of what is there.")]


def programs(
    context: Context,
    run: RunName = "latest",
    accept: Accept = False,
    select: Of = "*",
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import note, plural, say, say_json
    from paritygate.cli.runs import find_run, name_of
    from paritygate.cli.stages import changed_programs, shown
    from paritygate.judge.programs import without_lines
    from paritygate.store.baseline import refuse_planted
    from paritygate.store.programs import write_programs

    settings = settings_of(context)
    found = find_run(settings, run)
    there = list(found.programs())
    said = changed_programs(settings, found)
    files: list[Path] = []
    if accept:
        refuse_planted(found.info)
        if not there:
            raise UsageError(
                "run has no programs to record",
                where=found.info.id,
                expected="a run of cells with several devices, replayed chained or for gradients",
            )
        chosen = [each for each in there if fnmatchcase(each.cell, select)]
        if not chosen:
            cells = ", ".join(dict.fromkeys(each.cell for each in there))
            raise UsageError("no cell matches", where=f"--select {select}", expected=f"a glob over {cells}")
        files = write_programs(settings.golden / "programs", found.info.suite, map(without_lines, chosen))
    if as_json:
        say_json({"run": found.info.id, "programs": there, "changes": said.changes, "accepted": accept})
    elif accept:
        say(*(f"recorded  {shown(file)}" for file in files))
        note(settings, f"next    paritygate judge {name_of(settings, found)}")
    else:
        note(settings, *(each.text for each in said.changes))
        say(plural(len(said.failing), "change"))
        again = f"paritygate programs {name_of(settings, found)} --accept"
        note(settings, f"next    {again}, where they are right" if said.failing else "next    paritygate gate")
    return ExitCode.DRIFT if said.failing and not accept else ExitCode.PASS


VERB = Verb(
    "programs",
    programs,
    "What compiled programs exchange and hold, against what was recorded.",
    writes=lambda given: "recorded programs" if given["accept"] else "",
)
