"""`judge`: drifts → rows, with today's budgets and baseline; needs no device."""

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode


def judge(context: Context, run: RunName = "latest", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run, name_of
    from paritygate.cli.stages import judge_run
    from paritygate.judge.gate import summary

    settings = settings_of(context)
    found = find_run(settings, run)
    found, rows = judge_run(settings, found)
    counted, gaps, new = summary(rows), found.coverage().gaps, found.lint().new
    if as_json:
        say_json({"run": found.info.id, "summary": counted, "gaps": gaps, "findings": new})
    else:
        say(*(f"{verdict:<12} {count:>7,}" for verdict, count in sorted(counted.verdicts.items())))
        if counted.accepted:
            say(f"{'accepted':<12} {counted.accepted:>7,} of the passes: over budget, and in the baseline")
        if gaps:
            say(f"{'gaps':<12} {len(gaps):>7,} in coverage")
        if new:
            say(f"{'new':<12} {len(new):>7,} findings of the precision lint")
        say(
            f"judged {plural(counted.rows, 'row')} of {found.folder.name}",
            f"next    paritygate gate {name_of(settings, found)}",
        )
    return ExitCode.PASS


VERB = Verb("judge", judge, "Judge a run again on today's budgets and baseline.")
