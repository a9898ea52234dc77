"""Planting faults as `mutate` does: replay, judge, and the two files that record what was found.

Writes `golden/mutations.jsonl` (one mutant a line, by group, fault and cell) and `golden/MUTATIONS.md`.
"""

import json
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from paritygate.cli.verb import Settings
from paritygate.core.cell import SINGLE, Cell
from paritygate.core.codec import canonical, from_json, said
from paritygate.core.drift import Drift
from paritygate.core.errors import InfrastructureError, UsageError
from paritygate.core.family import Case
from paritygate.core.fault import Fault, FaultGroup
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.core.run import write_atomic

Chosen = Sequence[tuple[FaultGroup, Fault]]


def cells_for(fault: Fault, cells: Sequence[Cell]) -> list[Cell]:
    """`cells`, and where they are those of the default, the one that a fault is first seen in, if it is another.

    A fault that only a mesh shows is planted in these dtypes on its mesh, and in the oracle's on one device.
    """
    from paritygate.catalog.select import DEFAULT_CELLS, policies, select_cells

    known = policies()
    extra = fault.sees not in {cell.dtype for cell in cells} and set(select_cells(DEFAULT_CELLS)) <= set(cells)
    found = [*cells, *(select_cells(fault.sees) if extra else ())]
    if fault.mesh == SINGLE:
        return found
    alone = [replace(cell, mesh=SINGLE) for cell in found if not known[cell.dtype].peer]
    return list(dict.fromkeys([*alone, *(replace(cell, mesh=fault.mesh) for cell in found)]))


def fault_for(name: str, text: str, suite: str, captured: Collection[str]) -> tuple[str, list[Case], Fault | None]:
    """The suite and cases that are asked for, by default the case that shows the fault, and the fault; None of none.

    Raises UsageError where the fault is not of the candidate of every case.
    """
    from paritygate.catalog.select import case_of, fault_of, select_faults
    from paritygate.cli.stages import select

    if not name:
        return *select(text, suite, captured), None
    fault = fault_of(name)
    if text or suite:
        of_suite, cases = select(text, suite, captured)
    else:
        of_suite, case = case_of(fault)
        cases = [case]
    ((group, _),) = select_faults([name])
    if others := [case.id for case in cases if case.family != group.family]:
        raise UsageError(
            "fault of another candidate",
            where=f"--fault {name}",
            expected=f"cases of the family {group.family}",
            got=", ".join(others),
        )
    return of_suite, cases, fault


def narrowest(fault: Fault, cells: Sequence[Cell]) -> list[Cell]:
    """Those of `cells` that a fault cannot be judged without: the oracle's own dtype, and the first that sees it."""
    from paritygate.catalog.select import policies

    known = policies()
    return [cell for cell in cells if cell.dtype == fault.sees or not known[cell.dtype].peer]


def plant(
    settings: Settings,
    chosen: Chosen,
    cells_of: Callable[[Fault], Sequence[Cell]],
    workers: int | None,
    timeout_s: float,
    compile_cache: Path | None,
) -> list[Mutant]:
    """Replays and judges every fault in its cells, in the order of the faults.

    Raises InfrastructureError where a worker failed: then what is missing says nothing of the gate.
    """
    from paritygate.catalog.select import case_of
    from paritygate.cli.progress import progress
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.mutants import judge_mutants
    from paritygate.replay.job import Planting
    from paritygate.replay.mutants import replay_mutants
    from paritygate.store.golden import GoldenStore

    store, budgets = GoldenStore(settings.golden), read_budgets(settings)
    groups = {fault.name: (group, fault) for group, fault in chosen}
    plantings = [Planting(f.name, f.patches, *case_of(f), tuple(cells_of(f))) for _, f in chosen]
    cells = {planting.fault: [str(cell) for cell in planting.cells] for planting in plantings}
    found: dict[str, list[Mutant]] = {}
    folder = settings.runs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-mutate-{secrets.token_hex(2)}"
    with progress(settings) as shown:

        def finished(name: str, drifts: list[Drift]) -> None:
            group, fault = groups[name]
            suite, case = case_of(fault)
            found[name] = judge_mutants(group.name, fault, drifts, store.read(suite, case.id), cells[name], budgets)

        problems = replay_mutants(
            plantings,
            store,
            folder,
            finished,
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
            progress=shown,
        )
    if problems:
        raise InfrastructureError("faults were not all replayed", where=str(folder), got="\n".join(problems))
    return [mutant for _, fault in chosen for mutant in found[fault.name]]


def read_mutants(path: Path, without: Collection[str] = ()) -> list[Mutant]:
    """The recorded mutants; none where there is no file. Raises UsageError on a line that is not one.

    Fields in `without` are left at their defaults: most of the file are drifts, which a verdict is read without.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    mutants = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError as reason:
            raise UsageError("line cannot be read", where=f"{path}:{number}", got=str(reason)) from reason
        if isinstance(value, dict):
            value = {name: value[name] for name in value if name not in without}
        mutants.append(from_json(Mutant, value, f"{path.name}:{number}"))
    return mutants


def write_mutants(settings: Settings, mutants: Sequence[Mutant]) -> Path:
    """Records mutants in place of those of the same fault and cell; faults that the catalog has no more are dropped.

    Returns the path of the Markdown.
    """
    from paritygate.catalog.select import DEFAULT_CELLS, fault_groups, select_cells
    from paritygate.report.kill_matrix import render_markdown

    path, groups = settings.golden / "mutations.jsonl", fault_groups()
    replaced = {(mutant.fault, mutant.cell) for mutant in mutants}
    cells = {cell: place for place, cell in enumerate(map(str, select_cells(DEFAULT_CELLS)))}
    known = {fault.name: place for place, fault in enumerate(f for g in groups.values() for f in g.faults)}
    kept = [mutant for mutant in read_mutants(path) if (mutant.fault, mutant.cell) not in replaced]
    merged = sorted(
        (m for m in [*kept, *mutants] if m.fault in known),
        key=lambda mutant: (known[mutant.fault], cells.get(mutant.cell, len(cells)), mutant.cell),
    )
    write_atomic(path, "".join(canonical(said(mutant)) + "\n" for mutant in merged).encode())
    markdown = settings.golden / "MUTATIONS.md"
    write_atomic(markdown, render_markdown(KillMatrix(tuple(merged)), list(groups.values())).encode())
    return markdown
