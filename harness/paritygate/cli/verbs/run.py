"""`run`: replay, judge, explain, report and gate in one go."""

from typing import Annotated

import typer

from paritygate.cli.options import (
    CellsOfSuite,
    FaultName,
    ModeName,
    NoCache,
    Processes,
    Resume,
    RoutingName,
    Suite,
    Timeout,
    Within,
    Workers,
)
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode

NoExplain = Annotated[bool, typer.Option("--no-explain", help="Do not look for what explains divergences.")]


def run(
    context: Context,
    cases: Suite = "",
    suite: Within = "",
    cells: CellsOfSuite = "",
    mode: ModeName = "all",
    routing: RoutingName = "own",
    fault: FaultName = "",
    processes: Processes = "1",
    resume: Resume = "",
    workers: Workers = None,
    timeout: Timeout = 1800.0,
    no_compile_cache: NoCache = False,
    no_explain: NoExplain = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.explaining import explained_or_why
    from paritygate.cli.gating import say_gate
    from paritygate.cli.output import say
    from paritygate.cli.stages import (
        follow_run,
        judge_run,
        read_budgets,
        replay_run,
        report_run,
        resume_run,
        run_to_resume,
        shared_by,
    )
    from paritygate.cli.verbs.gate import gate

    settings = settings_of(context)
    read_budgets(settings)  # a mistake in the budgets is found before minutes are spent
    cache = None if no_compile_cache else settings.cache
    with shared_by(processes) as shared:
        if shared.is_led:
            return follow_run(shared, timeout, cache)
        if resume:
            made = run_to_resume(context, resume)
            if made.is_whole and made.is_judged:
                if not as_json:
                    say(f"{made.folder.name} is whole: there is nothing to resume.", "")
                return gate(context, str(made.folder), as_json)
            made = resume_run(settings, made, workers, timeout, cache, shared)
        else:
            made = replay_run(settings, cases, suite, cells, mode, workers, timeout, cache, routing, shared, fault)
    made, rows = judge_run(settings, made)
    not_explained = "" if no_explain else explained_or_why(settings, made, rows, cache)
    path = report_run(settings, made, rows)
    return say_gate(settings, made, rows, path, as_json=as_json, not_explained=not_explained)


VERB = Verb("run", run, "Replay, judge, explain, report and gate: the main job.")
