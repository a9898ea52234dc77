"""`explain`: which hypothesis explains what differs in float64, and which lines of the candidate a drift comes from."""

from collections.abc import Sequence
from typing import Annotated

import typer

from paritygate.cli.options import NoCache
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.blame import Blame
from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode, InfrastructureError, UsageError
from paritygate.core.hypothesis import Counterfactual

RowName = Annotated[
    str,
    typer.Argument(metavar="[ROW]", help="A value, a glob over rows, or a case; without it, all first divergences."),
]


def explain(
    context: Context,
    run: RunName = "latest",
    row: RowName = "",
    no_compile_cache: NoCache = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.blaming import blame_run, to_blame
    from paritygate.cli.explaining import explain_run, missing_for, to_explain
    from paritygate.cli.output import say_json
    from paritygate.cli.runs import find_run, name_of

    settings = settings_of(context)
    found = find_run(settings, run)
    rows, cache = list(found.judged()), None if no_compile_cache else settings.cache
    case = row if row in found.info.cases else ""
    if row and not case:
        to_ask = _asked(row, rows)
        semantic = [each for each in to_ask if each in to_explain(found, rows, each.drift.case)]
        cases = list(dict.fromkeys(each.drift.case for each in semantic))
    else:
        to_ask = to_blame(found, rows, case)
        cases = [case] if to_explain(found, rows, case) else []
    counterfactuals: list[Counterfactual] = []
    if cases:
        if missing := missing_for(found):
            raise InfrastructureError(
                "the reference is not installed here", got=f"no {missing}", try_="paritygate doctor"
            )
        counterfactuals = [each for one in cases for each in explain_run(settings, found, rows, one, cache)]
    blames = blame_run(settings, found, to_ask, cache)
    if as_json:
        say_json({"run": found.info.id, "counterfactuals": counterfactuals, "blames": blames})
        return ExitCode.PASS
    _say(context, name_of(settings, found), counterfactuals, blames)
    return ExitCode.PASS


def _asked(name: str, rows: Sequence[Row]) -> list[Row]:
    """The rows of a name whose drift can be taken apart; raises UsageError where there is none, or where it is many."""
    from paritygate.cli.blaming import AT_MOST
    from paritygate.cli.runs import matches, no_such_row, row_id
    from paritygate.core.cell import Mode
    from paritygate.report.data import worst

    found = [row for row in rows if matches(row, name)]
    if not found:
        raise no_such_row(name, list(rows))
    forward = [row for row in found if row.drift.mode != Mode.GRADIENT]
    if not forward:
        raise UsageError(
            "a gradient cannot be taken apart",
            where=name,
            expected="a value of the forward pass",
            got="the backward pass, which is not traced line by line",
        )
    measured = [row for row in forward if row.drift.metrics]
    if not measured:
        raise UsageError("nothing was measured there", where=name, got=str(forward[0].verdict))
    if len(measured) > AT_MOST:
        raise UsageError(
            "too many rows at once",
            where=name,
            expected=f"at most {AT_MOST}",
            got=f"{len(measured)} rows",
            try_=row_id(worst(measured, 1)[0]),
        )
    return measured


def _say(context: Context, run: str, counterfactuals: Sequence[Counterfactual], blames: Sequence[Blame]) -> None:
    from paritygate.cli import blaming, explaining
    from paritygate.cli.output import say

    settings = settings_of(context)
    say(*explaining.said(counterfactuals))
    for blame in blames:
        say(*blaming.said(settings, blame))
    addresses = [each.address for each in (*counterfactuals, *blames)]
    if addresses:
        say(f"next    paritygate show {run} {addresses[0]}")
    else:
        say("no divergence of float64 or of precision to explain", f"next    paritygate locate {run}")


VERB = Verb("explain", explain, "Which known mistake explains a divergence, and which lines a drift comes from.")
