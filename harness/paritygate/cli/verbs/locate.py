"""`locate`: the first divergent value of each case and cell, with diagnosis."""

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode


def locate(context: Context, run: RunName = "latest", as_json: Json = False) -> ExitCode:
    from paritygate.cli.explaining import said
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run, name_of
    from paritygate.cli.stages import gate_run
    from paritygate.judge.locate import first_divergence

    settings = settings_of(context)
    found = find_run(settings, run)
    rows = list(found.judged())
    divergences, gaps, code = first_divergence(rows), found.coverage().gaps, gate_run(found, rows)
    new = found.lint().new
    explained, blames = found.counterfactuals(), found.blames()
    if as_json:
        data = {
            "run": found.info.id,
            "exit_code": int(code),
            "first_divergences": divergences,
            "gaps": gaps,
            "findings": new,
        }
        say_json(data | {"counterfactuals": explained, "blames": blames})
        return code
    for divergence in divergences:
        say(divergence.text, *(f"    {line}" for line in divergence.finding))
    if explained or blames:
        say("", "Explanation", *said([*explained, *blames]), "")
    say(*(f"not covered: {gap.text}" for gap in gaps), *(f"not expected: {finding.text}" for finding in new))
    if divergences:
        say(f"{plural(len(divergences), 'cell')} of cases differ")
        say(f"next    paritygate show {name_of(settings, found)} {divergences[0].row.drift.address}")
    else:
        say(f"no row of {plural(len(rows), 'row')} differs", f"next    paritygate gate {name_of(settings, found)}")
    return code


VERB = Verb("locate", locate, "First divergence and diagnosis of each case and cell.")
