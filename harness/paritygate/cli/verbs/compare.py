"""`compare`: which rows changed between two runs."""

from collections import Counter
from typing import Annotated

import typer

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode

BAD = ("broken", "worse", "gone")

Second = Annotated[str, typer.Argument(metavar="RUN", help="The later run.")]


def compare(context: Context, before: RunName, after: Second = "latest", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run
    from paritygate.judge.compare import compare as compare_rows

    settings = settings_of(context)
    old, new = find_run(settings, before), find_run(settings, after)
    changes = compare_rows(old.judged(), new.judged())
    counts = Counter(str(change.status) for change in changes)
    changed = [change for change in changes if change.status != "equal"]
    if as_json:
        say_json({"before": old.info.id, "after": new.info.id, "counts": counts, "changes": changed})
    else:
        say(*(change.text for change in changed))
        said = ", ".join(f"{count:,} {status}" for status, count in counts.items()) or "no rows"
        say(f"{plural(len(changed), 'changed row')}: {said}", f"next    paritygate report {new.folder.name}")
    return ExitCode.DRIFT if any(counts[status] for status in BAD) else ExitCode.PASS


VERB = Verb("compare", compare, "Changed rows of two runs; exit code 1 where any got worse.")
