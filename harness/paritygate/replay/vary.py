"""Runs variations of a dtype policy in workers and gathers what each costs.

Reads goldens; writes `workers/` (jobs and logs) into a folder.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paritygate.catalog.select import families
from paritygate.core.cell import Mode
from paritygate.core.codec import from_json
from paritygate.core.errors import InfrastructureError
from paritygate.core.family import Case
from paritygate.core.progress import SILENT, Piece, Progress
from paritygate.core.sensitivity import Cost, Variation
from paritygate.replay.executor import Gathered, prepare_cache, run_all
from paritygate.replay.job import Environment, Job
from paritygate.replay.launch import check_goldens
from paritygate.replay.processes import Local
from paritygate.store.golden import GoldenStore


def replay_variations(
    variations: Sequence[Variation],
    suite: str,
    cases: Sequence[Case],
    store: GoldenStore,
    folder: Path,
    *,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 3600.0,
    compile_cache: Path | None = None,
    progress: Progress = SILENT,
) -> list[Cost]:
    """Runs every case in every variation, on a CPU.

    Each operation is rounded to its dtype, also where XLA joins several into one: else what is narrow would be computed
    wider, and cost nothing. Raises GoldenError where a golden is missing, stale or corrupt, before any worker starts,
    and InfrastructureError where a worker fails.
    """
    check_goldens(suite, list(cases), [], [Mode.CHAINED], store)
    prepare_cache(compile_cache)
    (folder / "workers").mkdir(parents=True)
    limit = workers or os.cpu_count() or 1
    jobs = [
        _job(some[share::limit], x64, suite, cases, store, extensions)
        for x64 in (False, True)
        for some in [[each for each in variations if ("float64" in _dtypes(each)) is x64]]
        for share in range(limit)
        if some[share::limit]
    ]
    progress.planned([_pieces(job) for job in jobs], limit, "costs")
    gathered = _Costs(progress)
    run_all(jobs, folder, Local(limit), timeout_s, compile_cache, gathered)
    if gathered.problems:
        raise InfrastructureError(
            "variations were not all run", where=str(folder), got="\n".join(gathered.problems), try_="paritygate doctor"
        )
    order = {(each.kind, each.name): place for place, each in enumerate(variations)}
    places = {case.id: place for place, case in enumerate(cases)}
    return sorted(gathered.costs, key=lambda cost: (order[cost.kind, cost.name], places[cost.case]))


def _pieces(job: Job) -> list[Piece]:
    """A variation of a layer costs nothing in a case that has not that layer."""
    sites = {
        case: family.sites_for(family.preset(case.preset), family.prompt(case.prompt))
        for case in job.cases
        for family in [job.families[case.family]]
    }
    return [
        Piece(f"{each.kind} {each.name}", case.id, 1)
        for each in job.variations
        for case in job.cases
        if not each.layer or any(site.candidate == each.layer for site in sites[case])
    ]


def _dtypes(variation: Variation) -> set[str]:
    policy = variation.policy
    return {policy.compute, policy.island, *policy.roles.values()}


def _job(
    variations: Sequence[Variation],
    x64: bool,
    suite: str,
    cases: Sequence[Case],
    store: GoldenStore,
    extensions: tuple[Path, ...],
) -> Job:
    known = families()
    interpreter = known[cases[0].family].candidate.interpreter or sys.executable
    return Job(
        Environment(interpreter, "cpu", x64, rounding="every"),
        str(store.root.resolve()),
        suite,
        tuple(cases),
        cells=(),
        modes=(Mode.CHAINED,),
        families={case.family: known[case.family] for case in cases},
        policies={},
        extensions=tuple(str(directory.resolve()) for directory in extensions),
        variations=tuple(variations),
    )


class _Costs(Gathered):
    """Costs as they come."""

    def __init__(self, progress: Progress):
        super().__init__(progress)
        self.costs: list[Cost] = []

    def found(self, message: dict[str, Any], number: int) -> None:
        cost = from_json(Cost, message["cost"])
        self.costs.append(cost)
        self.progress.done(number, f"{cost.kind} {cost.name}", cost.case)
