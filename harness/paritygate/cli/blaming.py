"""Blaming lines of the candidate for drifts of a run, or of planted faults: what to ask, and what was found."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.verb import Settings
from paritygate.core.blame import Blame, BlamedFault
from paritygate.core.cell import SINGLE, Cell, Mode
from paritygate.core.drift import Diagnosis, Drift, Row
from paritygate.core.errors import InfrastructureError
from paritygate.core.fault import Fault
from paritygate.core.run import Run
from paritygate.core.site import Kind

if TYPE_CHECKING:
    from paritygate.replay.job import Asked

AT_MOST = 8  # rows that are blamed on lines unasked, or at once


def to_blame(run: Run, rows: Sequence[Row], case: str = "") -> list[Row]:
    """The first divergence of each case that is rounding or, in float64, semantic; of one value only one.

    With `case` that case's alone.
    """
    from paritygate.cli.explaining import to_explain
    from paritygate.judge.locate import first_divergence

    found: dict[str, Row] = {}
    for divergence in first_divergence(rows):
        row = divergence.row
        rounded = row.diagnosis in (Diagnosis.PRECISION, Diagnosis.DECISION) and row.drift.kind == Kind.FLOAT
        if rounded and _can_be_taken_apart(row) and case in ("", divergence.case):
            found.setdefault(row.drift.address, row)
    semantic = filter(_can_be_taken_apart, to_explain(run, rows, case))
    return [*semantic, *found.values()][:AT_MOST]


def _can_be_taken_apart(row: Row) -> bool:
    """A forward pass on one device."""
    return row.drift.mode != Mode.GRADIENT and Cell.parse(row.drift.cell).mesh == SINGLE


def blame_run(settings: Settings, run: Run, rows: Sequence[Row], compile_cache: Path | None = None) -> list[Blame]:
    """Blames lines for rows of a run, and writes `blames.jsonl`: what it says of these values is replaced.

    Raises UsageError where the candidate, and GoldenError where a golden, is not the one of the run.
    """
    from paritygate.catalog.select import fault_of
    from paritygate.cli.explaining import refuse_others
    from paritygate.replay.blaming import blame_all
    from paritygate.store.golden import GoldenStore

    if not rows:
        return []
    store = GoldenStore(settings.golden)
    asked = [_asked(settings, run, row) for row in rows]
    for case in dict.fromkeys(each.case.id for each in asked):
        refuse_others(run, case, store.manifest_hash(run.info.suite, case), {})
    with tempfile.TemporaryDirectory(prefix=".explain-", dir=run.folder) as folder:
        found = blame_all(
            asked,
            (),
            store,
            Path(folder),
            extensions=settings.extensions,
            compile_cache=compile_cache,
            routing=run.info.routing,
            patches=fault_of(run.info.fault).patches if run.info.fault else (),
        )
    if found.problems:
        raise InfrastructureError("drifts cannot be taken apart", where=run.folder.name, got="\n".join(found.problems))
    refuse_others(run, asked[0].case.id, run.info.goldens[asked[0].case.id], found.candidate)
    keys = {blame.key for blame in found.blames}
    run.save_blames([*(blame for blame in run.blames() if blame.key not in keys), *found.blames])
    return list(found.blames)


def _asked(settings: Settings, run: Run, row: Row) -> "Asked":
    """A row in float64 is asked where it parts from the reference, any other how much each line adds."""
    from paritygate.catalog.select import policies, select_cases
    from paritygate.cli.stages import read_budgets
    from paritygate.replay.job import Asked

    drift, cell = row.drift, Cell.parse(row.drift.cell)
    (case,) = (case for case in select_cases(drift.case, run.info.suite) if case.id == drift.case)
    place = (run.info.suite, case, cell, drift.mode, drift.site, drift.port, drift.call)
    measured = drift.metrics.get("rel_l2", 0.0)
    if policies()[cell.dtype].peer:
        return Asked(*place, "lines", measured)
    judged = (rule for rule in read_budgets(settings).ordered if rule.limit is not None)
    value = (drift.mode, drift.site, drift.port, drift.case)
    fitting = (r for r in judged if r.fits("rel_l2", cell.dtype, *value, platform=cell.platform))
    return Asked(*place, "parting", measured, next((rule.limit or 0.0 for rule in fitting), 0.0))


def said(settings: Settings, blame: Blame) -> list[str]:
    """A blame as `explain` prints it."""
    from paritygate.report.blame_parts import blame_parts
    from paritygate.report.text import render_parts

    lines = render_parts(blame_parts(blame), settings.width - 2, settings.color)
    return [f"{blame.case}  {blame.cell}  {blame.mode}  {blame.address}", *(f"  {line}" for line in lines)]


def blame_faults(
    settings: Settings, faults: Sequence[Fault], workers: int | None, timeout_s: float, compile_cache: Path | None
) -> list[BlamedFault]:
    """Plants each fault in the first cell that sees it, and blames lines for what then differs first by precision.

    Raises InfrastructureError where a worker failed.
    """
    from paritygate.catalog.select import case_of, select_cells
    from paritygate.cli.output import progress
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.decide import judge
    from paritygate.judge.locate import first_divergence
    from paritygate.replay.blaming import blame_all
    from paritygate.replay.job import Asked, Planting
    from paritygate.replay.mutants import replay_mutants
    from paritygate.store.golden import GoldenStore

    store, budgets, drifts = GoldenStore(settings.golden), read_budgets(settings), dict[str, list[Drift]]()
    (oracle,) = select_cells("f64")
    cells = {fault.name: (oracle, *select_cells(fault.sees)) for fault in faults}
    plantings = {f.name: Planting(f.name, f.patches, *case_of(f), cells[f.name]) for f in faults}

    def asked(name: str) -> tuple[Asked, ...]:
        planting, of_cells = plantings[name], [str(cell) for cell in cells[name]]
        case = planting.case
        rows = judge(drifts[name], {case.id: store.read(planting.suite, case.id)}, of_cells, tuple(Mode), budgets, {})
        first = (each.row for each in first_divergence(rows) if each.row.diagnosis is Diagnosis.PRECISION)
        return tuple(
            Asked(
                planting.suite, case, Cell.parse(row.drift.cell), row.drift.mode, row.drift.site, row.drift.port,
                row.drift.call, "lines", row.drift.metrics.get("rel_l2", 0.0),
            )
            for row in first
        )  # fmt: skip

    settings.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".explain-", dir=settings.runs) as folder, progress(settings) as tell:

        def finished(name: str, found: list[Drift]) -> None:
            drifts[name] = found
            tell(len(drifts), len(faults), name)

        problems = replay_mutants(
            list(plantings.values()),
            store,
            Path(folder) / "replay",
            finished,
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
        )
        to_ask = [
            Planting(name, planting.patches, planting.suite, planting.case, (), found[:1])
            for name, planting in plantings.items()
            if name in drifts and (found := asked(name))
        ]
        blamed = blame_all(
            (),
            to_ask,
            store,
            Path(folder) / "blame",
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
        )
    if problems := [*problems, *blamed.problems]:
        raise InfrastructureError("faults were not all replayed", got="\n".join(problems))
    found = blamed.of_faults
    return [
        BlamedFault(fault.name, str(cells[fault.name][-1]), found[fault.name][1], found[fault.name][0])
        if fault.name in found
        else BlamedFault(fault.name, str(cells[fault.name][-1]))
        for fault in faults
    ]
