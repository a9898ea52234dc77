"""Capture, replay and judge of one seed of weights and text, as `seeds` does it for each.

Writes `seed-<n>/` into a folder: `golden/`, `runs/`, and `unclear.json`, the cases that capture finds no prompt for.
A seed that was replayed there already, with the candidate of today, is judged again, not replayed. The tensors of a
seed without an alarm are removed; judging needs none.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.verb import Settings
from paritygate.core.cell import Cell, Mode
from paritygate.core.codec import readable
from paritygate.core.errors import ExitCode, GoldenError, UnclearRoutingError
from paritygate.core.family import Case, Family
from paritygate.core.progress import Progress
from paritygate.core.run import Run, write_atomic
from paritygate.core.seed import Seed

if TYPE_CHECKING:
    from paritygate.store.golden import GoldenStore

SUITE = "seeds"  # one for the cases of all suites, so that a seed is one run


def cases_of(settings: Settings, texts: Sequence[str]) -> list[Case]:
    """The cases that `texts` name; without any, all cases of the suites that have goldens."""
    from paritygate.catalog.select import select_cases, suites
    from paritygate.store.golden import GoldenStore

    names = list(texts) or [name for name in GoldenStore(settings.golden).suites() if name in suites()]
    if not names:
        raise GoldenError("no suite has goldens", where=str(settings.golden), try_="paritygate seeds SUITE")
    return list(dict.fromkeys(case for name in names for case in select_cases(name)))


@dataclass(frozen=True)
class Seeding:
    """What is done for every seed. `settings` are those of the verb: its budgets judge."""

    settings: Settings
    cases: Sequence[Case]
    cells: Sequence[Cell]
    folder: Path
    workers: int | None
    timeout_s: float
    compile_cache: Path | None

    def place(self, number: int) -> Settings:
        """The folders of one seed, in which every verb works as in any other."""
        folder = self.folder / f"seed-{number}"
        return replace(self.settings, golden=folder / "golden", runs=folder / "runs")

    def replayed(self, number: int) -> Run | None:
        """The whole replay of a seed that is there already: of these cases, cells and candidate, by today's spec."""
        from paritygate.catalog.select import spec_hash
        from paritygate.store.golden import GoldenStore

        place, known = self.place(number), self._families(number)
        store, unclear = GoldenStore(place.golden), self._unclear(number)
        cases = [case for case in self.cases if case.id not in unclear]
        for path in sorted(place.runs.glob("*/run.json")):
            run = Run.open(path.parent)
            asked = (tuple(case.id for case in cases), tuple(map(str, self.cells)))
            if (run.info.cases, run.info.cells) == asked and not run.info.problems and _candidate_is_there(run):
                goldens = [store.read(SUITE, case.id) for case in cases]
                if all(golden.spec == spec_hash(golden.case, known[golden.case.family]) for golden in goldens):
                    return run
        return None

    def replay(self, number: int, progress: Progress) -> Run:
        """Captures and replays a seed from its beginning, but for the cases that capture finds no prompt for.

        Raises UnclearRoutingError where that is all of them.
        """
        from paritygate.replay.launch import replay
        from paritygate.store.golden import GoldenStore

        place, known = self.place(number), self._families(number)
        for folder in (place.golden, place.runs):
            shutil.rmtree(folder, ignore_errors=True)
        store = GoldenStore(place.golden)
        unclear = self._capture(store, known, progress)
        write_atomic(self._unclear_path(number), readable(unclear).encode())
        return replay(
            SUITE,
            [case for case in self.cases if case.id not in unclear],
            list(self.cells),
            list(Mode),
            store,
            place.runs,
            self.settings.command,
            known=known,
            extensions=self.settings.extensions,
            workers=self.workers,
            timeout_s=self.timeout_s,
            compile_cache=self.compile_cache,
            progress=progress,
        )

    def _capture(self, store: "GoldenStore", known: Mapping[str, Family], progress: Progress) -> dict[str, str]:
        """Captures what can be; returns why each other case cannot."""
        from paritygate.catalog.select import policies
        from paritygate.reference.build import with_peers
        from paritygate.reference.capture import capture, pieces_of

        asked = {policies()[cell.dtype].judged_as for cell in self.cells}
        peers = {name: policy for name, policy in with_peers().items() if name in asked}
        unclear: dict[str, str] = {}
        progress.planned([pieces_of(self.cases, peers)], noun="passes of the reference")
        for case in self.cases:
            try:
                capture([case], SUITE, store, lambda line: None, known, policies=peers, progress=progress)
            except UnclearRoutingError as reason:
                unclear[case.id] = str(reason)
                if len(unclear) == len(self.cases):
                    raise
        return unclear

    def _unclear_path(self, number: int) -> Path:
        return self.folder / f"seed-{number}" / "unclear.json"

    def _unclear(self, number: int) -> dict[str, str]:
        path = self._unclear_path(number)
        return json.loads(path.read_text()) if path.is_file() else {}

    def judged(self, number: int, run: Run) -> Seed:
        """The verdict on a replayed seed by today's budgets, and its report where there is an alarm."""
        from paritygate.cli.stages import judge_run, report_data, report_run
        from paritygate.judge.seeds import judge_seed
        from paritygate.store.golden import GoldenStore

        place = self.place(number)
        write_atomic(place.golden / "budgets.toml", (self.settings.golden / "budgets.toml").read_bytes())
        run, rows = judge_run(place, run)
        store = GoldenStore(place.golden)
        goldens = {case: store.read(SUITE, case) for case in run.info.cases}
        seed = judge_seed(number, rows, goldens, list(self._unclear(number)), run.info.problems, str(run.folder))
        if seed.code is ExitCode.PASS:
            shutil.rmtree(place.golden / "objects", ignore_errors=True)
        else:
            report_run(run, report_data(place, run))
        return seed

    def _families(self, number: int) -> dict[str, Family]:
        from paritygate.catalog.reseed import reseeded
        from paritygate.catalog.select import families

        return {name: reseeded(family, number) for name, family in families().items()}


def _candidate_is_there(run: Run) -> bool:
    """Whether the sources of a run's candidate are what this Python finds of it today."""
    from paritygate.replay.job import sources_hash

    for worker in run.info.workers:
        for package, digest in worker["candidate"].items():
            spec = find_spec(package)
            if spec is None or spec.origin is None or sources_hash(Path(spec.origin)) != digest:
                return False
    return True
