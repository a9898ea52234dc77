"""`compare`: which rows changed between two runs."""

from typing import Annotated

import typer

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode

BAD = ("broken", "worse", "gone")

Second = Annotated[str, typer.Argument(metavar="RUN", help="The later run.")]


def compare(context: Context, before: RunName, after: Second = "latest", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run, name_of
    from paritygate.judge.compare import with_run

    settings = settings_of(context)
    old, new = find_run(settings, before), find_run(settings, after)
    found = with_run(old.info, old.judged(), new.judged())
    if as_json:
        data = {"before": old.info.id, "after": new.info.id, "counts": found.counts}
        say_json(data | {"changes": found.changed})
    else:
        say(*(change.text for change in found.changed))
        words = f"{plural(len(found.changed), 'changed row')}: {found.words}"
        say(words, f"next    paritygate report {name_of(settings, new)} --against {name_of(settings, old)}")
    return ExitCode.DRIFT if any(status in found.counts for status in BAD) else ExitCode.PASS


VERB = Verb("compare", compare, "Changed rows of two runs; exit code 1 where any got worse.")
