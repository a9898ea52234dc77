"""Replays the candidate with one fault after another, each on its own case.

Reads goldens; writes `workers/` (jobs and logs) into a folder. A worker handles many faults: it starts once.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paritygate.catalog.select import families, layout_of, policies
from paritygate.core.cell import Mode
from paritygate.core.codec import from_json
from paritygate.core.drift import Drift, Kept
from paritygate.core.errors import NothingComparedError
from paritygate.core.progress import SILENT, Piece, Progress
from paritygate.replay.executor import Gathered, prepare_cache, run_all
from paritygate.replay.job import Environment, Job, Planting, environment_of
from paritygate.replay.launch import check_goldens
from paritygate.replay.processes import Local
from paritygate.store.golden import GoldenStore

Finished = Callable[[str, list[Drift]], None]
Keep = Callable[[str, Kept], None]


def replay_mutants(
    plantings: Sequence[Planting],
    store: GoldenStore,
    folder: Path,
    finished: Finished,
    *,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 3600.0,
    compile_cache: Path | None = None,
    keep: Keep | None = None,
    progress: Progress = SILENT,
) -> list[str]:
    """Plants each fault and replays its case in its cells and every mode; returns the problems of the infrastructure.

    `finished(fault, drifts)` is called once for each fault, when it was replayed in all of its cells; `keep`, where
    given, with each value under a fault, whose tensor is then in `values/` of the folder. Raises GoldenError before any
    worker starts where a golden is missing, stale or corrupt.
    """
    if not plantings:
        raise NothingComparedError("no fault to plant")
    for planting in plantings:
        check_goldens(planting.suite, [planting.case], list(planting.cells), list(Mode), store)
    prepare_cache(compile_cache)
    (folder / "workers").mkdir(parents=True)
    limit = workers or os.cpu_count() or 1
    jobs = [job for share in range(limit) for job in _plan(plantings[share::limit], store, extensions)]
    if keep:
        jobs = [replace(job, keep=str((folder / "values").resolve())) for job in jobs]
    of_jobs = [[Piece(str(cell), each.fault, 1) for each in job.plantings for cell in each.cells] for job in jobs]
    progress.planned(of_jobs, limit, "mutants")
    gathered = _Mutants(plantings, finished, keep, progress)
    run_all(jobs, folder, Local(limit), timeout_s, compile_cache, gathered)
    return gathered.problems


def _plan(plantings: Sequence[Planting], store: GoldenStore, extensions: tuple[Path, ...]) -> list[Job]:
    """One job for each environment that the faults need."""
    known, rows = families(), policies()
    groups: dict[Environment, list[Planting]] = defaultdict(list)
    for planting in plantings:
        interpreter = known[planting.case.family].candidate.interpreter or sys.executable
        cells: dict[Environment, list[Any]] = defaultdict(list)
        for cell in planting.cells:
            environment = environment_of(interpreter, rows[cell.dtype], layout_of(cell.mesh), cell.platform)
            cells[environment].append(cell)
        for environment, some in cells.items():
            groups[environment].append(
                Planting(planting.fault, planting.patches, planting.suite, planting.case, tuple(some))
            )
    return [
        Job(
            environment,
            str(store.root.resolve()),
            suite="",
            cases=(),
            cells=(),
            modes=tuple(Mode),
            families={planting.case.family: known[planting.case.family] for planting in some},
            policies={cell.dtype: rows[cell.dtype] for planting in some for cell in planting.cells},
            extensions=tuple(str(directory.resolve()) for directory in extensions),
            layouts={cell.mesh: layout_of(cell.mesh) for planting in some for cell in planting.cells},
            plantings=tuple(some),
        )
        for environment, some in groups.items()
    ]


class _Mutants(Gathered):
    """The drifts of each fault, until all of its cells are there."""

    def __init__(self, plantings: Sequence[Planting], finished: Finished, keep: Keep | None, progress: Progress):
        super().__init__(progress)
        self._keep = keep
        self._finished = finished
        self._left = {planting.fault: {str(cell) for cell in planting.cells} for planting in plantings}
        self._drifts: dict[str, list[Drift]] = defaultdict(list)

    def found(self, message: dict[str, Any], number: int) -> None:
        if "faulty" in message:
            faulty = message["faulty"]
            if self._keep and "value" in faulty:
                self._keep(faulty["fault"], from_json(Kept, faulty["value"]))
                return
            self._drifts[faulty["fault"]].append(from_json(Drift, faulty["drift"]))
            return
        fault, cell = message["replayed"]["fault"], message["replayed"]["cell"]
        self.progress.done(number, cell, fault)
        self._left[fault].remove(cell)
        if not self._left[fault]:
            self._finished(fault, self._drifts.pop(fault, []))
