"""`run`: replay, judge, explain, report and gate in one go."""

from contextlib import suppress
from typing import Annotated

import typer

from paritygate.cli.options import (
    Address,
    Against,
    CellsOfSuite,
    Executor,
    ExecutorName,
    FaultName,
    FormatName,
    ModeName,
    NoCache,
    OutputFormat,
    Processes,
    Quiet,
    Resume,
    RoutingName,
    Suite,
    Timeout,
    Within,
    Workers,
    chosen_format,
)
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, ReplayInterrupted, Terminated

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
    executor: Executor = ExecutorName.LOCAL,
    address: Address = "",
    resume: Resume = "",
    workers: Workers = None,
    timeout: Timeout = 1800.0,
    no_compile_cache: NoCache = False,
    no_explain: NoExplain = False,
    quiet: Quiet = False,
    against: Against = "",
    output_format: FormatName = None,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.explaining import explained_or_why
    from paritygate.cli.gating import judge_interrupted, say_gate
    from paritygate.cli.output import note
    from paritygate.cli.progress import progress
    from paritygate.cli.runs import find_run
    from paritygate.cli.sharing import follow_run, shared_by
    from paritygate.cli.stages import (
        judge_run,
        read_budgets,
        replay_run,
        report_data,
        report_run,
        resume_run,
        run_to_resume,
    )
    from paritygate.cli.verbs.gate import gate

    settings, form = settings_of(context), chosen_format(output_format, as_json)
    read_budgets(settings)  # a mistake in the budgets is found before minutes are spent
    if against:
        against = str(find_run(settings, against).folder)  # which run is the latest will have changed by then
    cache = None if no_compile_cache else settings.cache
    with shared_by(processes, executor, address, workers) as shared:
        if shared.is_led:
            return follow_run(shared, timeout, cache)
        try:
            if resume:
                made = run_to_resume(context, resume)
                if made.is_whole and made.is_judged:
                    if form is OutputFormat.TEXT:
                        note(settings, f"{made.folder.name} is whole: there is nothing to resume.", "")
                    return gate(context, str(made.folder), against, form)
                made = resume_run(settings, made, workers, timeout, cache, shared)
            else:
                made = replay_run(settings, cases, suite, cells, mode, workers, timeout, cache, routing, shared, fault)
        except ReplayInterrupted as stop:
            if not isinstance(stop.by, Terminated):
                with suppress(KeyboardInterrupt):  # who is in a hurry presses it again
                    judge_interrupted(settings, stop, against, form)
            raise
    with progress(settings, "judging"):
        made, rows = judge_run(settings, made)
    not_explained = "" if no_explain else explained_or_why(settings, made, rows, cache)
    data = report_data(settings, made, against)
    return say_gate(settings, made, data, report_run(made, data), form, not_explained)


VERB = Verb("run", run, "Replay, judge, explain, report and gate: the main job.")
