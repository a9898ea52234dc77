"""Has workers blame lines of the candidate for drifts, as it is or with faults planted.

Reads goldens; writes `workers/` (jobs and logs) into a folder.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paritygate.catalog.select import families, layout_of, policies
from paritygate.core.blame import Blame
from paritygate.core.codec import from_json
from paritygate.core.errors import UsageError
from paritygate.core.fault import Patch
from paritygate.core.progress import SILENT, Piece, Progress
from paritygate.core.run import Routing
from paritygate.replay.executor import Gathered, prepare_cache, run_all
from paritygate.replay.job import Asked, Environment, Job, Planting
from paritygate.replay.processes import Local
from paritygate.store.golden import GoldenStore


@dataclass(frozen=True)
class Blamed:
    """What was found: `blames` in the order in which it was asked, less what a worker that failed owes.

    `of_faults` are, by fault, what was found while it was planted and the lines that it put in. `candidate` is the hash
    of each package that was looked at.
    """

    blames: tuple[Blame, ...]
    of_faults: dict[str, tuple[Blame, tuple[str, ...]]]
    candidate: dict[str, str]
    problems: tuple[str, ...]


def blame_all(
    asked: Sequence[Asked],
    plantings: Sequence[Planting],
    store: GoldenStore,
    folder: Path,
    *,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 1800.0,
    compile_cache: Path | None = None,
    routing: Routing = "own",
    patches: tuple[Patch, ...] = (),
    progress: Progress = SILENT,
) -> Blamed:
    """Blames lines for what is `asked`, with `patches`, and for what each of `plantings` asks while its fault is there.

    Raises UsageError where a cell has more than one device.
    """
    _check_devices([*asked, *(each for planting in plantings for each in planting.asked)])
    prepare_cache(compile_cache)
    (folder / "workers").mkdir(parents=True)
    limit = workers or os.cpu_count() or 1
    jobs = [
        replace(job, routing=routing, patches=patches)
        for share in range(limit)
        for job in _plan(asked[share::limit], plantings[share::limit], store, extensions)
    ]
    progress.planned([_pieces(job) for job in jobs], limit, "drifts")
    gathered = _Gathered(progress)
    run_all(jobs, folder, Local(limit), timeout_s, compile_cache, gathered)
    asked_at = {each.key: place for place, each in enumerate(asked)}
    return Blamed(
        tuple(sorted(gathered.blames, key=lambda blame: asked_at[blame.key])),
        gathered.of_faults,
        {name: digest for record in gathered.records for name, digest in record["candidate"].items()},
        tuple(gathered.problems),
    )


def _pieces(job: Job) -> list[Piece]:
    counts = Counter((str(each.cell), each.case.id) for each in job.asked)
    counts.update((str(each.cell), planting.fault) for planting in job.plantings for each in planting.asked)
    return [Piece(*place, count) for place, count in counts.items()]


def _check_devices(asked: Sequence[Asked]) -> None:
    for each in asked:
        if layout_of(each.cell.mesh).devices > 1:
            raise UsageError(
                "a program over several devices cannot be taken apart",
                where=str(each.cell),
                expected="a cell of one device",
                try_=f"the same value in {each.cell.dtype}/single/{each.cell.platform}",
            )


def _plan(
    asked: Sequence[Asked], plantings: Sequence[Planting], store: GoldenStore, extensions: tuple[Path, ...]
) -> list[Job]:
    """One job for each interpreter and platform."""
    known, rows = families(), policies()
    oracle = next(name for name, policy in rows.items() if not policy.peer)
    groups: dict[tuple[str, str], tuple[list[Asked], list[Planting]]] = defaultdict(lambda: ([], []))

    def group(each: Asked) -> tuple[list[Asked], list[Planting]]:
        return groups[known[each.case.family].candidate.interpreter or sys.executable, each.cell.platform]

    for each in asked:
        group(each)[0].append(each)
    for planting in plantings:
        group(planting.asked[0])[1].append(planting)
    jobs = []
    for (interpreter, platform), (some, planted) in groups.items():
        all_asked = [*some, *(each for planting in planted for each in planting.asked)]
        jobs.append(
            Job(
                Environment(interpreter, platform, x64=True),
                str(store.root.resolve()),
                suite="",
                cases=(),
                cells=(),
                modes=(),
                families={each.case.family: known[each.case.family] for each in all_asked},
                policies={name: rows[name] for name in (oracle, *(each.cell.dtype for each in all_asked))},
                extensions=tuple(str(directory.resolve()) for directory in extensions),
                plantings=tuple(planted),
                asked=tuple(some),
                oracle=oracle,
            )
        )
    return jobs


class _Gathered(Gathered):
    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self.blames: list[Blame] = []
        self.of_faults: dict[str, tuple[Blame, tuple[str, ...]]] = {}

    def found(self, message: dict[str, Any], number: int) -> None:
        if "blame" in message:
            blame = from_json(Blame, message["blame"])
            self.blames.append(blame)
            self.progress.done(number, blame.cell, blame.case)
            return
        blamed = message["blamed"]
        blame = from_json(Blame, blamed["blame"])
        self.of_faults[blamed["fault"]] = blame, tuple(blamed["planted"])
        self.progress.done(number, blame.cell, blamed["fault"])
