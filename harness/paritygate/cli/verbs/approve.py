"""`approve`: accept drifts of a run as baseline, with a reason. The only writer of a baseline."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from paritygate.cli.runs import row_id
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.drift import Diagnosis, Row
from paritygate.core.errors import ExitCode, UsageError

SHOWN = 5

Select = Annotated[str, typer.Option("--select", metavar="GLOB", help="Rows, as case/cell/mode/site:port.")]
Semantic = Annotated[bool, typer.Option("--semantic", help="Accept rows, too, that compute something else.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why this drift is right.")]


def approve(
    context: Context,
    select: Select,
    reason: Reason,
    run: RunName = "latest",
    semantic: Semantic = False,
    as_json: Json = False,
) -> ExitCode:
    from datetime import UTC, datetime

    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run, refuse_planted
    from paritygate.cli.stages import shown
    from paritygate.store.baseline import approve as accept

    settings = settings_of(context)
    found = find_run(settings, run)
    refuse_planted(found)
    folder = settings.golden / "baselines"
    today = datetime.now(UTC).date().isoformat()
    rows = list(found.judged())
    if not semantic:
        refuse_semantic(rows, select)
    accepted = accept(rows, select, reason, found.info.id, folder, today)
    if as_json:
        say_json({"run": found.info.id, "accepted": accepted})
    else:
        say(*("accepted  " + "/".join(map(str, (a.case, a.cell, a.mode))) + f"/{a.site}:{a.port}" for a in accepted))
        say(
            f"{plural(len(accepted), 'row')} accepted in {shown(folder)}",
            f"next    paritygate judge {found.folder.name}",
        )
    return ExitCode.PASS


def refuse_semantic(rows: Iterable[Row], select: str) -> None:
    """A semantic fault is a bug in the candidate, and a glob that is meant for rounding must not accept one unseen."""
    chosen = [row for row in rows if fnmatchcase(row_id(row), select)]
    found = [row_id(row) for row in chosen if row.diagnosis is Diagnosis.SEMANTIC]
    if found:
        more = [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
        raise UsageError(
            f"{len(found)} of {len(chosen)} rows compute something else",
            where=select,
            expected="rows whose diagnosis is not semantic",
            got="\n            ".join([*found[:SHOWN], *more]),
            try_="a glob that leaves them out, or --semantic where the reference is what is wrong",
        )


VERB = Verb("approve", approve, "Accept drifts of a run as baseline, with a reason.")
