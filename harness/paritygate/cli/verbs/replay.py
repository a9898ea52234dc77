"""`replay`: the candidate on the goldens; measures, and judges nothing."""

from paritygate.cli.options import (
    Address,
    CellsOfSuite,
    Executor,
    ExecutorName,
    FaultName,
    ModeName,
    NoCache,
    Processes,
    Quiet,
    Resume,
    RoutingName,
    Suite,
    Timeout,
    Within,
    Workers,
)
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode


def replay(
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import note, say, say_json
    from paritygate.cli.sharing import follow_run, shared_by
    from paritygate.cli.stages import replay_run, resume_run, run_to_resume, shown

    settings = settings_of(context)
    cache = None if no_compile_cache else settings.cache
    with shared_by(processes, executor, address, workers) as shared:
        if shared.is_led:
            return follow_run(shared, timeout, cache)
        if resume:
            made = run_to_resume(context, resume)
            if made.is_whole and not as_json:
                note(settings, f"{made.folder.name} is whole: there is nothing to resume.")
            made = resume_run(settings, made, workers, timeout, cache, shared)
        else:
            made = replay_run(settings, cases, suite, cells, mode, workers, timeout, cache, routing, shared, fault)
    info = made.info
    if as_json:
        say_json({"run": info.id, "folder": str(made.folder), "problems": info.problems, "wall_s": info.wall_s})
    else:
        say(*(f"problem  {problem}" for problem in info.problems))
        say(f"replayed {len(info.cases)} cases in {len(info.cells)} cells in {info.wall_s:.1f} s: {shown(made.folder)}")
        note(settings, f"next    paritygate judge {made.folder.name}")
    return ExitCode.INFRASTRUCTURE if info.problems else ExitCode.PASS


VERB = Verb("replay", replay, "Run the candidate on the goldens and measure drifts.")
