"""`show`: what a run says; with ROW, everything about the rows that it matches."""

from typing import Annotated

import typer

from paritygate.cli.runs import matches, name_of, no_such_row, row_id
from paritygate.cli.verb import Context, Json, RunName, Settings, Verb, settings_of
from paritygate.core.blame import Blame
from paritygate.core.errors import ExitCode

ROWS_IN_FULL = 8

RowGlob = Annotated[
    str, typer.Argument(metavar="[ROW]", help="A value (layers.3.attn:out) or a glob over case/cell/mode/site:port.")
]


def show(context: Context, run: RunName = "latest", row: RowGlob = "", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run
    from paritygate.report.commands import commands
    from paritygate.report.data import ReportData, root, worst
    from paritygate.report.row_parts import row_parts
    from paritygate.report.said import blame_key
    from paritygate.report.text import render_parts, render_text
    from paritygate.report.words import row_words, verdict_words

    settings = settings_of(context)
    found = find_run(settings, run)
    rows = list(found.judged())
    chosen = worst((r for r in rows if matches(r, row)), len(rows)) if row else rows
    if row and not chosen:
        raise no_such_row(row, rows)
    if as_json:
        say_json({"run": found.info, "rows": chosen} if row else {"run": found.info})
        return ExitCode.PASS
    if not row:
        data = ReportData(found.info, tuple(rows), coverage=found.coverage())
        say(render_text(data, ["verdict", "heatmap"], settings.width, settings.color).rstrip())
        say("", f"next    paritygate show {name_of(settings, found)} SITE:PORT")
        return ExitCode.PASS
    if len(chosen) <= ROWS_IN_FULL:
        explained = {(each.case, each.address): each.text for each in found.counterfactuals()}
        blamed = {each.key: each for each in found.blames()}
        for each in chosen:
            explanation = explained.get((each.drift.case, each.drift.address), "") if root(each) else ""
            say(
                row_id(each),
                *(f"  {line}" for line in render_parts(row_parts(each), settings.width - 2, settings.color)),
                *([f"  {explanation}"] if explanation else []),
                *(f"  {line}" for line in _blamed(blamed.get(blame_key(each)), settings)),
                *(f"  {command.does:<11} {command.text}" for command in commands(found.info, each)),
                "",
            )
    else:
        say(*(f"{verdict_words(r.verdict):<12} {row_id(r)}  {row_words(r)}" for r in chosen))
    say(plural(len(chosen), "row"), f"next    paritygate report {name_of(settings, found)}")
    return ExitCode.PASS


def _blamed(blame: Blame | None, settings: Settings) -> list[str]:
    from paritygate.report.blame_parts import blame_parts
    from paritygate.report.text import render_parts

    return render_parts(blame_parts(blame), settings.width - 2, settings.color) if blame else []


VERB = Verb("show", show, "What a run says; with ROW, everything about that row.")
