"""Stages as the verbs compose them: what to read for each, and in which order. Imports a stage when it is called."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from paritygate.cli.verb import Context, Settings, settings_of
from paritygate.core.budget import Budgets
from paritygate.core.cell import Cell, Mode
from paritygate.core.comparison import Comparison
from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode, ReplayInterrupted, UsageError
from paritygate.core.family import Case
from paritygate.core.golden import LowPrecision
from paritygate.core.mutant import KillMatrix
from paritygate.core.program import Program, ProgramChanges
from paritygate.core.run import Routing, Run

if TYPE_CHECKING:
    from paritygate.replay.cluster import Cluster
    from paritygate.report.data import ReportData

MODES = {**{str(mode): [mode] for mode in Mode}, "both": [Mode.ISOLATED, Mode.CHAINED], "all": list(Mode)}


def select_modes(text: str) -> list[Mode]:
    if text not in MODES:
        raise UsageError("unknown mode", where=text, expected=" or ".join(MODES))
    return MODES[text]


def select_routing(text: str) -> Routing:
    for known in get_args(Routing):
        if text == known:
            return known
    raise UsageError("unknown routing", where=text, expected=" or ".join(get_args(Routing)))


def select_low_precision(text: str) -> LowPrecision:
    for known in get_args(LowPrecision):
        if text == known:
            return known
    raise UsageError("unknown low precision", where=text, expected=" or ".join(get_args(LowPrecision)))


def select(text: str, suite: str = "", captured: Collection[str] = ()) -> tuple[str, list[Case]]:
    """The suite that `text` names, or that holds the cases it names, and the cases.

    `suite`, where given, is the one to look in. Else a glob over cases is looked up in the suites that are `captured`,
    as far as any of them has such cases; where several have, that is an error, for a run is of one suite.
    """
    from paritygate.catalog.select import select_cases, suite_of, suites

    known = suites()
    if suite:
        return suite, select_cases("*" if text in ("", suite) else text, suite)
    text = text or "tiny"
    cases = select_cases(text)
    if text in known:
        return text, cases
    found = {name: [case for case in known[name] if case in cases] for name in known if name in captured}
    found = {name: some for name, some in found.items() if some}
    if not found:
        for case in cases:
            found.setdefault(suite_of(case), []).append(case)
    if len(found) > 1 and text not in {case.id for case in cases}:
        raise UsageError(
            "cases of several suites",
            where=text,
            got="\n            ".join(f"{name}: {', '.join(c.id for c in some)}" for name, some in found.items()),
            try_=f"one of them: --suite {next(iter(found))}",
        )
    return next(iter(found.items()))


def replay_run(
    settings: Settings,
    text: str,
    suite: str,
    cells: str,
    mode: str,
    workers: int | None,
    timeout_s: float,
    compile_cache: Path | None,
    routing: str,
    shared: "Shared",
    fault: str = "",
) -> Run:
    """Replays what was asked for, and shows how far it is; a fault without cases in its own."""
    from paritygate.catalog.full import is_full, refuse_targets

    if is_full(text, suite):
        from paritygate.cli.compiling import compile_run, refuse_other_options

        refuse_other_options(mode, routing, shared.processes, fault)
        return compile_run(settings, text, cells, workers, timeout_s)
    modes, whose = select_modes(mode), select_routing(routing)
    if whose == "golden":
        modes = [mode for mode in modes if mode is not Mode.GRADIENT]  # it runs the model as its family says
        if not modes:
            raise UsageError("gradients go by the candidate's own choices", where="--routing golden --mode gradient")
    from paritygate.catalog.select import cells_of, select_cells
    from paritygate.cli.mutants import cells_for, fault_for
    from paritygate.cli.progress import progress
    from paritygate.replay.launch import replay
    from paritygate.store.golden import GoldenStore

    store = GoldenStore(settings.golden)
    suite, cases, planted = fault_for(fault, text, suite, store.suites())
    chosen: list[Cell] = select_cells(cells or cells_of(suite))
    if planted and not cells:
        chosen = cells_for(planted, chosen)
    refuse_targets(chosen)
    with progress(settings) as tell, _ended_well(settings.runs):
        return replay(
            suite,
            cases,
            chosen,
            modes,
            store,
            settings.runs,
            settings.command,
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
            routing=whose,
            processes=shared.processes,
            cluster=shared.cluster,
            fault=planted,
            progress=tell,
        )


def resume_run(
    settings: Settings, run: Run, workers: int | None, timeout_s: float, compile_cache: Path | None, shared: "Shared"
) -> Run:
    """Replays what a run that did not reach its end lacks, and shows how far it is."""
    from paritygate.cli.progress import progress
    from paritygate.replay.resume import resume
    from paritygate.store.golden import GoldenStore

    with progress(settings) as tell, _ended_well(run.folder):
        return resume(
            run,
            GoldenStore(settings.golden),
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
            cluster=shared.cluster,
            progress=tell,
        )


@dataclass(frozen=True)
class Shared:
    """How many processes a mesh lies over, and the cluster that they are of, where they are of one."""

    processes: int
    cluster: "Cluster | None" = None

    @property
    def is_led(self) -> bool:
        """Whether another process judges, and this one works for it."""
        return self.cluster is not None and self.cluster.number > 0


@contextmanager
def shared_by(text: str) -> Iterator[Shared]:
    """What `--processes` says."""
    if text == "auto":
        from paritygate.replay.cluster import joined

        with joined() as cluster:
            yield Shared(cluster.processes, cluster)
    elif text.isdecimal() and int(text) > 0:
        yield Shared(int(text))
    else:
        raise UsageError("bad number of processes", where=f"--processes {text}", expected="1, 2, ... or auto")


def follow_run(shared: Shared, timeout_s: float, compile_cache: Path | None) -> ExitCode:
    """Works for the process that judges."""
    from paritygate.cli.output import say
    from paritygate.replay.cluster import follow

    assert shared.cluster is not None
    problems = follow(shared.cluster, timeout_s, compile_cache)
    say(f"process {shared.cluster.number} of {shared.processes} worked; process 0 judges", *problems)
    return ExitCode.INFRASTRUCTURE if problems else ExitCode.PASS


def run_to_resume(context: Context, name: str) -> Run:
    """The run that `--resume` names; raises UsageError where the command line says beside it what to replay."""
    from paritygate.cli.runs import find_run

    run = find_run(settings_of(context), name)
    asked = {"cases": "SUITE"} | {
        name: f"--{name}" for name in ("suite", "cells", "mode", "routing", "processes", "fault")
    }
    sources = {text: context.get_parameter_source(name) for name, text in asked.items()}
    given = [text for text, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if context.params.get("processes") == "auto":  # of a cluster every process says so, each time
        given.remove("--processes")
    if given:
        raise UsageError(
            "a run is resumed as it was asked for",
            where=f"--resume {name}",
            expected=f"no other one: it is {' '.join(run.info.command)}",
            got=", ".join(given),
        )
    return run


@contextmanager
def _ended_well(folder: Path) -> Iterator[None]:
    """A full disk names no file: then it is the folder's. What is interrupted says how it goes on."""
    try:
        yield
    except ReplayInterrupted as stop:
        stop.add_note(f"  try       paritygate run --resume {stop.folder.name}")
        raise
    except OSError as reason:
        if reason.filename is not None:
            raise
        raise OSError(reason.errno, reason.strerror or str(reason), str(folder)) from reason


def read_budgets(settings: Settings) -> Budgets:
    from paritygate.judge.budgets import read_budgets

    return read_budgets(settings.golden / "budgets.toml")


def judge_run(settings: Settings, run: Run) -> tuple[Run, list[Row]]:
    """Judges a run on its goldens, budgets and baseline; writes what it finds, and what by.

    Raises GoldenError where a golden is not the one that the run was replayed on.
    """
    if is_compiled(run):
        from paritygate.cli.compiling import judge_compiled

        return judge_compiled(settings, run)
    from paritygate.catalog.select import families
    from paritygate.judge.coverage import prove
    from paritygate.judge.decide import judge
    from paritygate.judge.lint import noted
    from paritygate.store.baseline import read_baseline
    from paritygate.store.golden import GoldenStore

    store, info = GoldenStore(settings.golden), run.info
    store.require_unchanged(info.suite, {case: info.goldens[case] for case in info.cases})
    goldens = {case: store.read(info.suite, case) for case in info.cases}
    budgets, baselines = settings.golden / "budgets.toml", settings.golden / "baselines"
    accepted = read_baseline(baselines)
    rules = read_budgets(settings)
    rows = judge(run.drifts(), goldens, info.cells, info.modes, rules, accepted, skipped=info.skipped)
    known = families()
    ran = {case: golden for case, golden in goldens.items() if not all(info.skip(case, c) for c in info.cells)}
    coverage = prove(ran, known, run.inspections(), rows, info.modes)
    family_of = {case: golden.case.family for case, golden in goldens.items()}
    findings = ((family_of[finding.case], finding) for finding in run.findings())
    lint = noted(findings, {name: known[name].expected for name in dict.fromkeys(family_of.values())})
    hashes = (_hash([budgets]), _hash(sorted(baselines.glob("*.jsonl"))))
    programs, most_x = changed_programs(settings, run), rules.baseline.factor
    return run.save_rows(rows, *hashes, coverage, lint, programs, most_x), rows


def is_compiled(run: Run) -> bool:
    """Whether the run is of passes that were compiled, and not of goldens that were replayed."""
    return (run.folder / "compilations.jsonl").is_file()


def changed_programs(settings: Settings, run: Run) -> ProgramChanges:
    """The run's programs against what golden/programs has of its cases, cells and modes."""
    from paritygate.judge.programs import changes

    if is_compiled(run):
        from paritygate.cli.compiling import recorded_of
        from paritygate.judge.compilations import changes_of

        found = list(run.compilations())
        return changes_of(found, recorded_of(settings, found))
    return changes(run.programs(), _recorded(settings, run))


def _recorded(settings: Settings, run: Run) -> list[Program]:
    """A program is named by its case and its way."""
    from paritygate.store.programs import read_programs

    mode_of = {"forward": Mode.CHAINED, "backward": Mode.GRADIENT}  # programs of the whole model; others are of a site

    def in_run(program: Program) -> bool:
        case, what = program.name.split()[:2]
        asked = case in run.info.cases and mode_of.get(what, Mode.ISOLATED) in run.info.modes
        return asked and program.cell in run.info.cells and not run.info.skip(case, program.cell)

    return [each for each in read_programs(settings.golden / "programs", run.info.suite) if in_run(each)]


def _hash(paths: Sequence[Path]) -> str:
    """The sha256 of the files' bytes, one behind the other; empty where there is no file."""
    import hashlib

    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() if paths else ""


def report_data(settings: Settings, run: Run, against: str = "") -> "ReportData":
    """What every format of a judged run is made from. `against` names the run that it is compared with, if any."""
    from paritygate.report.data import ReportData

    data = ReportData.of(run, golden_provenance(settings, run))
    comparison = compared(settings, run, data.rows, against)
    return replace(data, comparison=comparison, kill_matrix=recorded_mutants(settings, run))


def recorded_mutants(settings: Settings, run: Run) -> KillMatrix:
    """What was last found of faults that the run's cases show: how much its verdict is worth."""
    from paritygate.cli.mutants import read_mutants

    shown = {f"{run.info.suite}/{case}" for case in run.info.cases}
    found = read_mutants(settings.golden / "mutations.jsonl", without=["drifts"])
    return KillMatrix(tuple(mutant for mutant in found if mutant.case in shown))


def compared(settings: Settings, run: Run, rows: Sequence[Row], against: str) -> Comparison:
    """The run beside the one that `against` names or, without it, beside the drifts that were accepted."""
    from paritygate.cli.runs import find_run
    from paritygate.judge.compare import with_accepted, with_run

    if against:
        earlier = find_run(settings, against)
        return with_run(earlier.info, earlier.judged(), rows)
    from paritygate.store.baseline import read_baseline

    return with_accepted(read_baseline(settings.golden / "baselines").values(), run.info, rows)


def report_run(run: Run, data: "ReportData") -> Path:
    """Writes `report.html` and returns its path."""
    from paritygate.report.render import write_report

    return write_report(run.folder, data)


def golden_provenance(settings: Settings, run: Run) -> str:
    """The provenance of the run's goldens as text; of a golden that is gone, a line that says so.

    Manifests are read as JSON, not as goldens: `report` has no use for NumPy.
    """
    import json

    from paritygate.core.codec import readable

    same: dict[str, list[str]] = {}
    for case in (case for case in run.info.cases if case in run.info.goldens):
        try:
            manifest = json.loads((settings.golden / run.info.suite / f"{case}.json").read_text())
            text = readable(manifest["provenance"]).strip()
        except (OSError, ValueError, KeyError, TypeError):
            text = "its manifest is not in this folder of goldens"
        same.setdefault(text, []).append(case)
    return "\n\n".join(f"{', '.join(cases)}\n{text}" for text, cases in same.items())


def gate_run(run: Run, rows: Iterable[Row]) -> ExitCode:
    from paritygate.judge.gate import exit_code

    return exit_code(rows, run.info.problems, [*run.coverage().gaps, *run.lint().new, *run.program_changes().failing])


def shown(path: Path) -> str:
    """A path as a reader would type it: relative where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
