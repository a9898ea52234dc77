"""`explain`: which hypothesis about the candidate makes the first divergence of each case vanish."""

from typing import Annotated

import typer

from paritygate.cli.options import NoCache
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode, InfrastructureError, unknown_name

CaseName = Annotated[str, typer.Argument(metavar="[CASE]", help="One case of the run; without it, one a blamed site.")]


def explain(
    context: Context,
    run: RunName = "latest",
    case: CaseName = "",
    no_compile_cache: NoCache = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.explaining import explain_run, missing_for, said
    from paritygate.cli.output import say, say_json
    from paritygate.cli.runs import find_run

    settings = settings_of(context)
    found = find_run(settings, run)
    if case and case not in found.info.cases:
        raise unknown_name("case of the run", case, list(found.info.cases))
    rows = list(found.judged())
    if missing := missing_for(found):
        raise InfrastructureError("the reference is not installed here", got=f"no {missing}", try_="paritygate doctor")
    cache = None if no_compile_cache else settings.cache
    counterfactuals = explain_run(settings, found, rows, case, cache)
    if as_json:
        say_json({"run": found.info.id, "counterfactuals": counterfactuals})
        return ExitCode.PASS
    say(*said(counterfactuals))
    if counterfactuals:
        say(f"next    paritygate show {found.folder.name} {counterfactuals[0].address}")
    else:
        say("no semantic divergence in float64 to explain", f"next    paritygate locate {found.folder.name}")
    return ExitCode.PASS


VERB = Verb("explain", explain, "Which known mistake makes the first divergence vanish.")
