"""`show`: what a run says; with ROW, everything about the rows that it matches."""

from fnmatch import fnmatchcase
from typing import Annotated

import typer

from paritygate.cli.runs import row_id
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode, UsageError

ROWS_IN_FULL = 8

RowGlob = Annotated[
    str, typer.Argument(metavar="[ROW]", help="A value (layers.3.attn:out) or a glob over case/cell/mode/site:port.")
]


def show(context: Context, run: RunName = "latest", row: RowGlob = "", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run
    from paritygate.report.data import ReportData, root, worst
    from paritygate.report.row_parts import row_parts
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
        say("", f"next    paritygate show {found.folder.name} SITE:PORT")
        return ExitCode.PASS
    if len(chosen) <= ROWS_IN_FULL:
        explained = {each.address: each.text for each in found.counterfactuals()}
        for each in chosen:
            say(
                row_id(each),
                *(f"  {line}" for line in render_parts(row_parts(each), settings.width - 2, settings.color)),
                *([f"  {explained[each.drift.address]}"] if root(each) and each.drift.address in explained else []),
                "",
            )
    else:
        say(*(f"{verdict_words(r.verdict):<12} {row_id(r)}  {row_words(r)}" for r in chosen))
    say(plural(len(chosen), "row"), f"next    paritygate report {found.folder.name}")
    return ExitCode.PASS


def matches(row: Row, glob: str) -> bool:
    return row.drift.address == glob or fnmatchcase(row_id(row), glob)


def no_such_row(glob: str, rows: list[Row]) -> UsageError:
    import difflib

    addresses = list(dict.fromkeys(row.drift.address for row in rows))
    near = difflib.get_close_matches(glob, addresses, n=3, cutoff=0.5)
    return UsageError(
        "no row matches",
        where=glob,
        expected="a value such as layers.3.attn:out, or a glob over case/cell/mode/site:port",
        got=f"{len(rows)} rows, none of that name",
        try_=f"did you mean {' or '.join(near)}?" if near else "paritygate show",
    )


VERB = Verb("show", show, "What a run says; with ROW, everything about that row.")
