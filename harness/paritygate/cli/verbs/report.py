"""`report`: the HTML page of a judged run, or its sections as text."""

from typing import Annotated

import typer

from paritygate.cli.options import Against
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode

Sections = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="SECTION", help="Print a section, or all, instead of writing HTML. Repeatable."),
]


def report(
    context: Context,
    run: RunName = "latest",
    text: Sections = None,
    against: Against = "",
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import say, say_json
    from paritygate.cli.runs import find_run, name_of
    from paritygate.cli.stages import report_data, report_run, shown
    from paritygate.report.assemble import assemble
    from paritygate.report.text import render_text

    settings = settings_of(context)
    found = find_run(settings, run)
    data = report_data(settings, found, against)
    if text:
        names = None if "all" in text else text
        if as_json:
            say_json({section.name: [_part(part) for part in parts] for section, parts in assemble(data, names)})
        else:
            say(render_text(data, names, settings.width, settings.color).rstrip())
        return ExitCode.PASS
    path = report_run(found, data)
    if as_json:
        say_json({"run": found.info.id, "report": str(path)})
    else:
        say(f"report  {shown(path)}", f"next    paritygate show {name_of(settings, found)}")
    return ExitCode.PASS


def _part(part: object) -> dict[str, object]:
    return {"part": type(part).__name__, "content": part}


VERB = Verb("report", report, "Write report.html of a judged run, or print its sections.")
