"""Plans one worker process per JAX environment, and gathers what they measure into a new run.

Reads goldens; writes `<runs>/<id>/`: what `results.py` says, and `workers/`.
"""

import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Literal

from paritygate.catalog.select import families, layout_of, policies, spec_hash
from paritygate.core.cell import Cell, Mode
from paritygate.core.codec import canonical
from paritygate.core.errors import GoldenError, NothingComparedError, UsageError
from paritygate.core.family import Case, Family
from paritygate.core.fault import Fault, Patch
from paritygate.core.golden import GRADIENTS, Golden
from paritygate.core.progress import SILENT, Piece, Progress
from paritygate.core.run import Routing, Run, RunInfo, Skip, why_skipped, write_atomic
from paritygate.core.site import address, chosen
from paritygate.replay.cluster import Cluster
from paritygate.replay.job import Environment, Job, environment_of, parts_of
from paritygate.replay.platforms import Presence, probe
from paritygate.replay.processes import prepare_cache
from paritygate.replay.results import Results
from paritygate.store.golden import GoldenStore


def replay(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    runs: Path,
    command: tuple[str, ...],
    *,
    known: Mapping[str, Family] | None = None,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 1800.0,
    compile_cache: Path | None = None,
    routing: Routing = "own",
    progress: Progress = SILENT,
    keep: Literal["drifts", "values"] = "drifts",
    processes: int = 1,
    cluster: Cluster | None = None,
    fault: Fault | None = None,
) -> Run:
    """Replays `cases` in `cells` and returns the run, not yet judged.

    `known` are the families by name, by default those of the catalog; `routing` says whose choices are gone by;
    `processes` is how many a mesh lies over, those of a `cluster` or else of this machine; `fault` is planted in the
    candidate first. Raises UsageError where there is no choice to force, or where a mesh cannot lie over so many, and
    GoldenError before any worker starts
    where a golden is missing, stale or corrupt. A worker that dies or runs out of time is recorded in the run's
    `problems`; its rows will be missing. To keep `values` too puts the candidate's own into the run folder:
    `values.jsonl`, and tensors in `values/`.
    """
    if not cases or not cells or not modes:
        raise NothingComparedError(
            "nothing to replay", got=f"{len(cases)} cases, {len(cells)} cells, {len(modes)} modes"
        )
    if routing == "golden":
        check_routing(cases, families() if known is None else known)
    check_processes(cells, processes, cluster)
    check_goldens(suite, cases, cells, modes, store, known)
    skipped = (
        *absent(cases, cells, families() if known is None else known, processes),
        *unfit(cases, cells, known),
    )
    limit = workers or os.cpu_count() or 1
    elsewhere = any(cell.platform != "cpu" for cell in cells)  # manifests are large, and the CPU's floors are in each
    goldens = [store.read(suite, case.id) for case in cases] if elsewhere else []
    prepare_cache(compile_cache)
    patches = fault.patches if fault else ()
    jobs = plan(suite, cases, cells, modes, store, extensions, known, routing, skipped, limit, processes, patches)
    pieces = pieces_of(jobs, store, skipped)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    run_id = f"{stamp}-{suite}-{secrets.token_hex(2)}"
    info = RunInfo(
        id=run_id,
        suite=suite,
        cases=tuple(case.id for case in cases),
        cells=tuple(map(str, cells)),
        modes=tuple(map(str, modes)),
        started=stamp,
        command=command,
        goldens={case.id: store.manifest_hash(suite, case.id) for case in cases},
        versions=versions(),
        routing=routing,
        processes=processes,
        fault=fault.name if fault else "",
        asked=parts_of(jobs),
        floors={str(cell): floor_from(cell, goldens) for cell in cells},
        skipped=skipped,
        values=sum(piece.size for of_job in pieces for piece in of_job),
    )
    folder = runs / run_id
    (folder / "workers").mkdir(parents=True)
    run = Run(folder, info)
    if keep == "values":
        jobs = [replace(job, keep=str((folder / "values").resolve())) for job in jobs]
    with run.alone():
        progress.planned(pieces, limit)
        gathered = Results(run, progress, cluster=cluster)
        run = gathered.of(jobs, limit, timeout_s, compile_cache)
    if keep == "values":
        write_atomic(folder / "values.jsonl", "".join(canonical(kept) + "\n" for kept in gathered.values).encode())
    return run


def versions() -> dict[str, str]:
    """Of what runs here, in the launcher; those of a worker are in its record."""
    return {"paritygate": version("paritygate"), "python": sys.version.split()[0]}


def absent(cases: list[Case], cells: list[Cell], known: Mapping[str, Family], processes: int = 1) -> tuple[Skip, ...]:
    """The cells whose devices are not here, as many as a process needs.

    Platforms are asked for as the cells name them, the CPU never.
    """
    here: dict[tuple[str, str], Presence] = {}
    cases_of: dict[str, list[str]] = {}
    for case in cases:
        cases_of.setdefault(known[case.family].candidate.interpreter or sys.executable, []).append(case.id)
    skips: list[Skip] = []
    for interpreter, names in cases_of.items():
        for cell in (cell for cell in cells if cell.platform != "cpu"):
            asked = (cell.platform, interpreter)
            here[asked] = here.get(asked) or probe(*asked)
            if reason := here[asked].lacks(cell.mesh, -(-layout_of(cell.mesh).devices // processes)):
                skips += [Skip(str(cell), reason, name) for name in (names if len(cases_of) > 1 else [""])]
    return tuple(skips)


def floor_from(cell: Cell, goldens: list[Golden]) -> str:
    """Where a cell's noise floor comes from, in words."""
    policy = policies()[cell.dtype]
    if cell.platform == "cpu" or not policy.peer:
        return policy.floor_from
    having = sum(golden.has_floors_on(cell.platform, policy.judged_as) for golden in goldens)
    if having == len(goldens):
        return f"{policy.floor_from} on {cell.platform}"
    captured = f"those of {having} of {len(goldens)} cases" if having else "none"
    return f"{policy.floor_from} on cpu; {captured} captured on {cell.platform}"


def check_goldens(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    known: Mapping[str, Family] | None = None,
) -> None:
    """Raises GoldenError unless every golden is whole and of today's spec, NothingComparedError on empty ones."""
    store.require(suite, [case.id for case in cases])
    known, rows, total = families() if known is None else known, policies(), 0
    for case in cases:
        golden, family = store.read(suite, case.id), known[case.family]
        stale = {
            "spec": (spec_hash(case, family)[:12], golden.spec[:12]),
            "ports": (_asked(case, family), _held(golden)),
        }
        for policy in (rows[cell.dtype] for cell in cells):
            stale[f"peer of {policy.name}"] = (policy.peer, golden.peers.get(policy.name, policy.peer))
        for what, (expected, got) in stale.items():
            if expected != got:
                raise GoldenError(
                    f"golden is stale: its {what} is not what the catalog says today",
                    where=f"{suite}/{case.id}",
                    expected=str(expected)[:400],
                    got=str(got)[:400],
                    try_=f"paritygate capture {case.id}",
                )
        total += _values(golden, modes)
    if not total:
        raise NothingComparedError("the goldens hold nothing to compare", where=suite)


def unfit(cases: list[Case], cells: list[Cell], known: Mapping[str, Family] | None = None) -> tuple[Skip, ...]:
    """The cases whose model cannot lie on a cell's mesh, by what the family says of its sizes."""
    known, found = families() if known is None else known, list[Skip]()
    for case in cases:
        family = known[case.family]
        preset, prompt = family.preset(case.preset), family.prompt(case.prompt)
        reasons = {cell: family.unfit(preset, layout_of(cell.mesh), prompt) for cell in cells}
        found += [Skip(str(cell), reason, case.id) for cell, reason in reasons.items() if reason]
    return tuple(found)


def pieces_of(jobs: Sequence[Job], store: GoldenStore, skipped: Sequence[Skip]) -> list[list[Piece]]:
    """What each job will have of drifts."""
    values: dict[str, int] = {}
    for job in jobs:
        for case in job.cases:
            if case.id not in values:
                values[case.id] = _values(store.read(job.suite, case.id), job.modes)
    return [
        [
            Piece(str(cell), case.id, values[case.id])
            for cell in job.cells
            for case in job.cases
            if not why_skipped(skipped, case.id, str(cell))
        ]
        for job in jobs
    ]


def _values(golden: Golden, modes: Sequence[Mode]) -> int:
    return sum(len(set(port.modes) & set(modes)) for port in golden.ports)


def check_processes(cells: list[Cell], processes: int, cluster: Cluster | None = None) -> None:
    """Raises UsageError unless the devices of every mesh can be shared out evenly among the processes."""
    layouts = {cell: layout for cell in cells if (layout := layout_of(cell.mesh)).devices > 1}
    for cell, layout in layouts.items():
        if layout.devices % processes:
            raise UsageError(
                "mesh cannot lie over so many processes",
                where=f"--processes {processes}, {cell}",
                expected=f"a number that divides its {layout.devices} devices",
            )
        if cell.platform != "cpu" and processes > 1 and cluster is None:
            raise UsageError("processes of one machine share its CPU only", where=f"--processes {processes}, {cell}")
    if processes > 1 and not layouts:
        raise UsageError(
            "nothing for several processes", where=f"--processes {processes}", expected="cells with several devices"
        )


def check_routing(cases: list[Case], families: Mapping[str, Family]) -> None:
    """Raises UsageError unless every case has choices, each of which goes through a tap of the candidate."""
    for case in cases:
        family = families[case.family]
        choices = [
            (site, port)
            for site in family.sites_for(family.preset(case.preset), family.prompt(case.prompt))
            for port in chosen(site)
        ]
        if not choices:
            raise UsageError(
                "nothing to force",
                where=case.id,
                expected="sites that choose, for --routing golden",
                got=f"no decision in the sites of {case.preset}",
                try_="leave out --routing",
            )
        for site, port in choices:
            if ":" in port.candidate or port.candidate.startswith("result"):
                raise UsageError(
                    "choice cannot be forced",
                    where=f"{site.name}:{port.name}",
                    expected="a tap, through which the candidate's choice goes",
                    got=repr(port.candidate),
                )


def _asked(case: Case, family: Family) -> list[str]:
    """The values that the family wants of a case, but for gradients, whose names only the reference knows."""
    sites = family.sites_for(family.preset(case.preset), family.prompt(case.prompt))
    return sorted(
        address(site.name, port.name, call) for site in sites for port in site.ports for call in range(site.calls)
    )


def _held(golden: Golden) -> list[str]:
    return sorted(port.address for port in golden.ports if port.site != GRADIENTS)


def plan(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    extensions: tuple[Path, ...] = (),
    known: Mapping[str, Family] | None = None,
    routing: Routing = "own",
    skipped: Sequence[Skip] = (),
    workers: int = 1,
    processes: int = 1,
    patches: tuple[Patch, ...] = (),
) -> list[Job]:
    """One job per environment, its cells in the order asked for; of cells on meshes as many as there are `workers`.

    Nearly all time on a mesh is compiling, which no two layouts share.
    """
    known, rows = families() if known is None else known, policies()
    groups: dict[Environment, tuple[dict[Case, None], dict[Cell, None]]] = {}
    for cell in cells:
        for case in cases:
            if why_skipped(skipped, case.id, str(cell)):
                continue
            interpreter = known[case.family].candidate.interpreter or sys.executable
            environment = environment_of(interpreter, rows[cell.dtype], layout_of(cell.mesh), cell.platform, processes)
            of_case, of_cell = groups.setdefault(environment, ({}, {}))
            of_case[case] = None
            of_cell[cell] = None
    return [
        Job(
            environment,
            str(store.root.resolve()),
            suite,
            tuple(of_case),
            some,
            tuple(modes),
            {case.family: known[case.family] for case in of_case},
            {cell.dtype: rows[cell.dtype] for cell in some},
            tuple(str(Path(directory).resolve()) for directory in extensions),
            layouts={cell.mesh: layout_of(cell.mesh) for cell in some},
            routing=routing,
            patches=patches,
        )
        for environment, (of_case, of_cell) in groups.items()
        for some in _shares(tuple(of_cell), max(1, workers // environment.processes) if environment.devices > 1 else 1)
    ]


def _shares(cells: tuple[Cell, ...], shares: int) -> Iterator[tuple[Cell, ...]]:
    """Runs of cells of nearly equal length, none of them empty."""
    ends = [len(cells) * share // shares for share in range(shares + 1)]
    yield from (cells[start:end] for start, end in pairwise(ends) if start < end)
