"""`approve`: accept drifts of a run as baseline, with a reason. The only writer of a baseline."""

from typing import Annotated

import typer

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode

Select = Annotated[str, typer.Option("--select", metavar="GLOB", help="Rows, as case/cell/mode/site:port.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why this drift is right.")]


def approve(
    context: Context, select: Select, reason: Reason, run: RunName = "latest", as_json: Json = False
) -> ExitCode:
    from datetime import UTC, datetime

    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run
    from paritygate.cli.stages import shown
    from paritygate.store.baseline import approve as accept

    settings = settings_of(context)
    found = find_run(settings, run)
    folder = settings.golden / "baselines"
    today = datetime.now(UTC).date().isoformat()
    accepted = accept(found.judged(), select, reason, found.info.id, folder, today)
    if as_json:
        say_json({"run": found.info.id, "accepted": accepted})
    else:
        say(*("accepted  " + "/".join(map(str, (a.case, a.cell, a.mode))) + f"/{a.site}:{a.port}" for a in accepted))
        say(
            f"{plural(len(accepted), 'row')} accepted in {shown(folder)}",
            f"next    paritygate judge {found.folder.name}",
        )
    return ExitCode.PASS


VERB = Verb("approve", approve, "Accept drifts of a run as baseline, with a reason.")
