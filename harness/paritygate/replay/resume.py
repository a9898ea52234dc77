"""Finishes a run that did not reach its end: keeps what is whole, and replays the rest into the same folder.

Whole is a case in a cell all of whose values are there, in every mode; of another one nothing is kept. Nothing is thus
measured twice, wherever the run ended, and wherever resuming it ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paritygate.catalog.select import families, fault_of, select_cells
from paritygate.core.cell import Cell, Mode
from paritygate.core.codec import canonical
from paritygate.core.errors import UsageError, unknown_name
from paritygate.core.family import Case, Family
from paritygate.core.progress import SILENT, Progress
from paritygate.core.run import Run, RunInfo, write_atomic
from paritygate.replay.cluster import Cluster
from paritygate.replay.executor import Executor, prepare_cache
from paritygate.replay.job import Job, parts_of
from paritygate.replay.launch import check_goldens, pieces_of, plan, versions
from paritygate.replay.processes import Local
from paritygate.replay.results import Results
from paritygate.store.golden import GoldenStore

Pair = tuple[str, str]  # a case and a cell


def resume(
    run: Run,
    store: GoldenStore,
    *,
    known: Mapping[str, Family] | None = None,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    executor: Executor | None = None,
    timeout_s: float = 1800.0,
    compile_cache: Path | None = None,
    progress: Progress = SILENT,
    cluster: Cluster | None = None,
) -> Run:
    """Returns the run with what it lacked, not yet judged; a whole one as it is.

    Raises GoldenError where a golden, and UsageError where anything else is not what the run was begun with: the
    catalog, versions, the candidate, how JAX was started.
    """
    with run.alone():
        run = Run.open(run.folder)
        if run.is_whole:
            return run
        info, known = run.info, families() if known is None else known
        store.require_unchanged(info.suite, info.goldens)
        cases = [store.read(info.suite, name).case for name in info.cases]
        for family in {case.family for case in cases} - set(known):
            raise unknown_name("family", family, list(known))
        cells = [cell for text in info.cells for cell in select_cells(text)]
        modes = [Mode(name) for name in info.modes]
        check_goldens(info.suite, cases, cells, modes, store, known)
        at = executor or Local(workers)
        patches = fault_of(info.fault).patches if info.fault else ()
        how = (store, extensions, known, info.routing, info.skipped, at, info.processes, patches)
        parts = parts_of(plan(info.suite, cases, cells, modes, *how))
        _refuse(info, info.versions, versions())
        _refuse(info, {"processes": str(info.processes)}, {"processes": str(cluster.processes)} if cluster else {})
        _refuse(info, {name: info.asked.get(name, "not recorded") for name in parts}, parts)
        prepare_cache(compile_cache)
        whole = _keep_whole(run, cases, store)
        kept = tuple(repeat for repeat in info.repeats if (repeat.case, repeat.cell) in whole)
        repeated = {repeat.cell: bool(repeat.differing) for repeat in kept}
        jobs: list[Job] = []
        for left, of_cells in _left(cases, cells, whole).items():
            jobs += plan(info.suite, list(left), of_cells, modes, *how)
        jobs = [replace(job, repeated=repeated) for job in jobs]
        progress.planned(pieces_of(jobs, store, info.skipped), at.workers, done=sum(1 for _ in run.drifts()))
        results = Results(
            Run(run.folder, replace(info, repeats=kept)), progress, lambda record: _refuse_worker(info, record), cluster
        )
        return results.of(jobs, at, timeout_s, compile_cache)


def _keep_whole(run: Run, cases: Sequence[Case], store: GoldenStore) -> set[Pair]:
    """Drops the lines of what is not whole, and returns what is.

    Drifts alone say which pairs those are, and of a pair that is not whole all lines go: a kill between two files
    leaves what the next time drops.
    """
    found = {drift.key for drift in run.drifts()}
    whole = {
        (case.id, cell)
        for case in cases
        for cell in run.info.cells
        if run.info.skip(case.id, cell)
        or all(
            (case.id, cell, mode, port.site, port.port, port.call) in found
            for port in store.read(run.info.suite, case.id).ports
            for mode in run.info.modes
            if mode in port.modes and not port.is_input
        )
    }
    for name, lines in (
        ("drifts", run.drifts()),
        ("inspections", run.inspections()),
        ("findings", run.findings()),
        ("programs", run.programs()),
    ):
        kept = [canonical(line) + "\n" for line in lines if (line.case, line.cell) in whole]
        write_atomic(run.folder / f"{name}.jsonl", "".join(kept).encode())
    return whole


def _left(cases: Sequence[Case], cells: Sequence[Cell], whole: set[Pair]) -> dict[tuple[Case, ...], list[Cell]]:
    """The cells by which cases are left of them."""
    left: dict[tuple[Case, ...], list[Cell]] = {}
    for cell in cells:
        if of_cell := tuple(case for case in cases if (case.id, str(cell)) not in whole):
            left.setdefault(of_cell, []).append(cell)
    return left


def _refuse_worker(info: RunInfo, record: Mapping[str, Any]) -> None:
    """Raises UsageError where a worker is not as those of the first part were."""
    for earlier in info.workers:
        if earlier["interpreter"] == record["interpreter"]:
            _refuse(info, dict(_everywhere(earlier)), dict(_everywhere(record)))
        if set(earlier["cells"]) & set(record["cells"]):
            _refuse(info, dict(_of_cells(earlier)), dict(_of_cells(record)))


def _everywhere(record: Mapping[str, Any]) -> Iterator[Pair]:
    """What is the same in all workers of an interpreter."""
    yield "the worker's python", record["python"]
    yield from record["versions"].items()
    yield from ((f"candidate {package}", digest) for package, digest in record["candidate"].items())


def _of_cells(record: Mapping[str, Any]) -> Iterator[Pair]:
    """What is the same in all workers of one cell. Where the compile cache lies changes nothing."""
    yield "devices", ", ".join(record["devices"])
    cache = ("JAX_COMPILATION_CACHE_", "JAX_PERSISTENT_CACHE_")
    variables = {name: value for name, value in record["environment"].items() if not name.startswith(cache)}
    yield "environment", " ".join(f"{name}={value}" for name, value in variables.items())


def _refuse(info: RunInfo, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises UsageError that names the first of what both have and is not the same. A run of two states is void."""
    for name in (name for name in then if name in now):
        if then[name] != now[name]:
            raise UsageError(
                "run cannot be resumed with another state of what it was begun with",
                where=f"{info.id}: {name}",
                expected=then[name],
                got=now[name],
                try_="that state, or a new run",
            )
