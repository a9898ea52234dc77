"""One session of pytest: which replay an item needs, and what the judge makes of it.

Reads goldens, budgets and baselines; writes parts of the run (`parts.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.stages import judge_run, read_budgets, shown
from paritygate.cli.verb import Settings
from paritygate.core.cell import SINGLE, Cell, Mode
from paritygate.core.coverage import Gap
from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode, HarnessError, InfrastructureError, UsageError
from paritygate.core.family import Case
from paritygate.core.lint import Noted
from paritygate.core.program import Change
from paritygate.core.run import Run, why_skipped
from paritygate.testing.asked import Asked, ParityCase, parity_cases
from paritygate.testing.parts import folder_of, merge, shared

if TYPE_CHECKING:
    from paritygate.store.golden import GoldenStore


@dataclass(frozen=True)
class Checked:
    """What the judge says of one parity case.

    `around` are the rows of its case and cell in every mode, `gaps` what the gate refuses of the case beside values,
    `folder` the run that all will be part of.
    """

    case: ParityCase
    around: tuple[Row, ...]
    gaps: tuple[Gap | Noted | Change, ...]
    problems: tuple[str, ...]
    folder: str

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.around if row.drift.mode == self.case.mode]

    @cached_property
    def code(self) -> ExitCode:
        """The gate's, of these rows alone."""
        from paritygate.judge.gate import exit_code

        return exit_code(self.rows, self.problems, self.gaps)

    @property
    def text(self) -> str:
        from paritygate.testing.words import failure

        return failure(self)

    @property
    def properties(self) -> list[tuple[str, object]]:
        """What the item's report carries to the controller and into JUnit's XML."""
        from paritygate.testing.words import properties

        return properties(self)

    def require_infrastructure(self) -> None:
        if self.code is ExitCode.INFRASTRUCTURE:
            raise InfrastructureError(
                "replay did not reach its end",
                where=str(self.case.cell),
                got="\n            ".join(self.problems),
                try_=f"paritygate doctor; logs are in {self.folder}/workers",
            )


class ParitySession:
    """Lives in each process of pytest; what was replayed is shared between them by files."""

    def __init__(self, settings: Settings, asked: Asked, started: tuple[str, str], process: str):
        self.settings, self.asked, self.started, self.process = settings, asked, started, process
        self.selected: tuple[ParityCase, ...] = ()
        self._refused: dict[Case, HarnessError | None] = {}
        self._skipped: dict[ParityCase, str] = {}
        self._parts: dict[Cell, Run] = {}
        self._judged: dict[Cell, tuple[Run, list[Row]]] = {}

    @cached_property
    def cases(self) -> tuple[ParityCase, ...]:
        """All that the options ask for. Raises UsageError on what the catalog does not have."""
        return tuple(parity_cases(self.settings, self.asked))

    def select(self, cases: Iterable[ParityCase]) -> None:
        """What is left of them in this session, in the order of `cases`."""
        chosen = set(cases)
        self.selected = tuple(case for case in self.cases if case in chosen)

    @property
    def suite(self) -> str:
        return self.cases[0].suite

    @cached_property
    def folder(self) -> Path:
        """The run that the session will have written."""
        stamp, mark = self.started
        return self.settings.runs / f"{stamp}-{self.suite}-{mark}"

    @property
    def modes(self) -> list[Mode]:
        """Of all that was selected: each cell is replayed in them, for a run is of the same modes in every cell."""
        return [mode for mode in Mode if any(case.mode is mode for case in self.selected)]

    @cached_property
    def store(self) -> "GoldenStore":
        from paritygate.store.golden import GoldenStore

        return GoldenStore(self.settings.golden)

    def require_golden(self, case: ParityCase) -> None:
        """Raises GoldenError where it is missing, stale or corrupt, and UsageError on budgets that cannot be read."""
        read_budgets(self.settings)  # a mistake there is found before minutes are spent
        if reason := self.refused(case.case):
            raise reason

    def refused(self, case: Case) -> HarnessError | None:
        from paritygate.replay.launch import check_goldens

        if case not in self._refused:
            cells = list(dict.fromkeys(each.cell for each in self.selected if each.case == case))
            try:
                check_goldens(self.suite, [case], cells, self.modes, self.store)
                self._refused[case] = None
            except HarnessError as reason:
                self._refused[case] = reason
        return self._refused[case]

    def why_skipped(self, case: ParityCase) -> str:
        """Why its cell is not run, as `paritygate run` would say it; empty where it is."""
        from paritygate.catalog.select import families
        from paritygate.replay.launch import absent, unfit

        if case not in self._skipped:
            known, cases = families(), self._in(case.cell)
            skips = (*absent(cases, [case.cell], known), *unfit(cases, [case.cell], known))
            for each in (each for each in self.selected if each.cell == case.cell):
                self._skipped[each] = why_skipped(skips, each.case.id, str(each.cell))
        return self._skipped[case]

    def _in(self, cell: Cell) -> list[Case]:
        return list(dict.fromkeys(each.case for each in self.selected if each.cell == cell))

    def require_devices(self, platform: str, processes: int) -> None:
        """Raises UsageError where a platform is here, and more processes would wait for it than it has devices."""
        import sys

        from paritygate.catalog.select import families
        from paritygate.replay.platforms import counted, probe

        named = {case.case.family for case in self.cases}  # which also makes extensions known
        interpreters = {families()[name].candidate.interpreter or sys.executable for name in named}
        devices = min(probe(platform, interpreter).devices for interpreter in interpreters)
        if 0 < devices < processes:
            raise UsageError(
                f"more pytest workers than devices of the platform {platform}",
                where=f"-n {processes}",
                expected=f"at most {counted(devices)} and as many workers: they cannot share its memory",
                try_=f"-n {devices}, or cells on the cpu in a session of their own",
            )

    def part(self, cell: Cell) -> Run:
        """The replay of a cell, made once in a session."""
        if cell not in self._parts:
            self._parts[cell] = shared(self.folder / "parts", cell, self.process, lambda into: self._replay(cell, into))
        return self._parts[cell]

    def _replay(self, cell: Cell, into: Path) -> Run:
        """All cases that the session has of the cell, but those without a golden: what is compiled serves all."""
        from paritygate.replay.launch import replay

        return replay(
            self.suite,
            [case for case in self._in(cell) if self.refused(case) is None],
            [cell],
            self.modes,
            self.store,
            into,
            self.settings.command,
            extensions=self.settings.extensions,
            workers=1,
            timeout_s=self.asked.timeout_s,
            compile_cache=self.settings.cache,
        )

    def checked(self, case: ParityCase) -> Checked:
        run, rows = self._judge(case.cell)
        place = (case.case.id, str(case.cell))
        refused: Sequence[Gap | Noted] = [*run.coverage().gaps, *run.lint().new]
        gaps: list[Gap | Noted | Change] = [gap for gap in refused if case.case.id in gap.cases]
        gaps += [each for each in run.program_changes().failing if each.name.partition(" ")[0] == case.case.id]
        around = tuple(row for row in rows if (row.drift.case, row.drift.cell) == place)
        return Checked(case, around, tuple(gaps), self.part(case.cell).info.problems, shown(self.folder))

    def _judge(self, cell: Cell) -> tuple[Run, list[Row]]:
        """A cell that differs is judged beside those in float64, which tell a fault from rounding and from sharding."""
        from paritygate.judge.diagnose import diverged

        if cell not in self._judged:
            run, rows = judge_run(self.settings, self.part(cell))
            if any(map(diverged, rows)) and (others := self._witnesses(cell)):
                into = folder_of(self.folder / "parts", cell) / f"judged-{self.process}"
                _, rows = judge_run(self.settings, merge(into, [self.part(cell), *map(self.part, others)]))
            self._judged[cell] = run, rows
        return self._judged[cell]

    def _witnesses(self, cell: Cell) -> list[Cell]:
        """The float64 cells of the session on the same layout, or on one device."""
        from paritygate.catalog.select import policies

        known = policies()
        return [
            other
            for other in dict.fromkeys(case.cell for case in self.selected)
            if other != cell
            and not known[other.dtype].peer
            and other.platform == cell.platform
            and other.mesh in (cell.mesh, SINGLE)
            and any(self._is_replayed(case) for case in self.selected if case.cell == other)
        ]

    def _is_replayed(self, case: ParityCase) -> bool:
        return not self.why_skipped(case) and self.refused(case.case) is None
