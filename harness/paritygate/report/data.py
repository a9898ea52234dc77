"""What the sections are built from: a run's info and rows, and views of them that several sections share."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING

from paritygate.core.blame import Blame
from paritygate.core.cell import Mode
from paritygate.core.comparison import Comparison
from paritygate.core.coverage import Coverage
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.core.gates import Gates, gates
from paritygate.core.hypothesis import Counterfactual
from paritygate.core.lint import Lint
from paritygate.core.mutant import KillMatrix
from paritygate.core.program import Program, ProgramChanges
from paritygate.core.run import Run, RunInfo
from paritygate.core.site import Kind
from paritygate.report.parts import Item, Tone
from paritygate.report.words import nearness

if TYPE_CHECKING:
    from paritygate.core.compilation import Compilation

COMPARED = (Verdict.OVER_BUDGET, Verdict.REGRESSED, Verdict.NONFINITE, Verdict.MISMATCH)

Place = tuple[str, str]  # cell, mode: a column of the report


class Outcome(StrEnum):
    """The run as a whole, as the gate sees it."""

    PASS = "pass"
    FAIL = "fail"
    INCOMPLETE = "incomplete"
    NOTHING = "nothing compared"


def failing(row: Row) -> bool:
    """Not a pass: skipped is one only where the reason was stated."""
    return row.verdict is not Verdict.PASS and not (row.verdict is Verdict.SKIPPED and row.reason.strip())


def root(row: Row) -> bool:
    """Failing by itself, not because of something upstream."""
    return failing(row) and row.diagnosis is not Diagnosis.PROPAGATED


def row_nearness(row: Row) -> float:
    """The row's place on the way to its limit (1 is at it); infinite where it fails without a number."""
    judged = max((nearness(j) for j in row.judgements), default=0.0)
    return judged if judged or not failing(row) else math.inf


def severity(row: Row) -> tuple[bool, bool, float]:
    """Sorts rows by how much they need a reader: failing, to blame, far over the limit."""
    return failing(row), root(row), row_nearness(row)


@dataclass(frozen=True)
class ReportData:
    """A judged run as plain data.

    `golden_provenance` is text about the goldens' origin, shown as it is; `counterfactuals` what explains divergences,
    and `blames` the lines that they come from. `comparison` is with an earlier run, or with what was accepted;
    `kill_matrix` what was last found of faults planted in the candidate, on cases of the run.
    """

    info: RunInfo
    rows: tuple[Row, ...]
    golden_provenance: str = ""
    coverage: Coverage = field(default_factory=Coverage)
    counterfactuals: tuple[Counterfactual, ...] = ()
    lint: Lint = field(default_factory=Lint)
    blames: tuple[Blame, ...] = ()
    programs: tuple[Program, ...] = ()
    program_changes: ProgramChanges = field(default_factory=ProgramChanges)
    compilations: "tuple[Compilation, ...]" = ()
    comparison: Comparison | None = None
    kill_matrix: KillMatrix = field(default_factory=lambda: KillMatrix(()))

    @classmethod
    def of(cls, run: Run, golden_provenance: str = "", comparison: Comparison | None = None) -> "ReportData":
        """Reads the rows of a judged run; raises UsageError where it was not judged."""
        explained, blames = tuple(run.counterfactuals()), tuple(run.blames())
        return cls(
            run.info, tuple(run.judged()), golden_provenance, run.coverage(), explained, run.lint(), blames,
            tuple(run.programs()), run.program_changes(), tuple(run.compilations()), comparison,
        )  # fmt: skip

    @cached_property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if failing(row))

    @cached_property
    def verdicts(self) -> Counter[Verdict]:
        return Counter(row.verdict for row in self.rows)

    @cached_property
    def outcome(self) -> Outcome:
        """What the gate will say: a difference is one whatever else went wrong, and nothing compared is no pass."""
        if any(row.verdict in COMPARED for row in self.rows):
            return Outcome.FAIL
        if self.info.problems:
            return Outcome.INCOMPLETE
        if all(row.verdict in (Verdict.MISSING, Verdict.SKIPPED) for row in self.rows):
            return Outcome.NOTHING
        found = self.failures or self.coverage.gaps or self.lint.new or self.program_changes.failing
        return Outcome.FAIL if found else Outcome.PASS

    @cached_property
    def gates(self) -> Gates:
        """The absolute budget and the ratchet, each by itself."""
        return gates(self.rows)

    @cached_property
    def accepted(self) -> tuple[Row, ...]:
        """Passes that are over budget: a baseline accepts them."""
        return tuple(row for row in self.rows if row.accepted)

    @cached_property
    def flips_excused(self) -> int:
        """Choices that are not the golden's and pass: nearly tied, or following from such a one."""
        return sum(row.excuse.excused + row.excuse.cascaded for row in self.rows if row.excuse)

    @cached_property
    def not_covered(self) -> tuple[str, ...]:
        """What a pass of this run does not speak for, a sentence each."""
        if self.compilations:
            return ("Compiled for devices, and run on none: no value was compared.",)
        compared = [row.drift for row in self.rows if row.drift.metrics]
        floats: dict[str, set[str]] = defaultdict(set)
        for drift in compared:
            if drift.kind == Kind.FLOAT:
                floats[drift.cell].add(drift.dtype)
        said = []
        if {"float64"} not in floats.values():
            said.append("No float64 cell was run: a semantic fault below the noise is not excluded.")
        if {drift.mode for drift in compared} == {Mode.ISOLATED}:
            said.append("Not chained: the glue between modules is not covered, and no program was linted.")
        if self.info.routing == "golden":
            said.append("The golden's choices were forced: the candidate's own are not covered.")
        return tuple(said)

    @property
    def compared(self) -> str:
        """What a row is of."""
        return "programs" if self.compilations else "values"

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every (cell, mode) that has rows, in the order they were asked for."""
        found = {(row.drift.cell, row.drift.mode) for row in self.rows}
        asked = [(cell, mode) for cell in self.info.cells for mode in self.info.modes]
        return tuple([place for place in asked if place in found] + sorted(found - set(asked)))

    @cached_property
    def cases(self) -> tuple[str, ...]:
        found = {row.drift.case for row in self.rows}
        return tuple([case for case in self.info.cases if case in found] + sorted(found - set(self.info.cases)))

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Every site in execution order, by its first value; sites that only other cases have are woven in."""
        merged: list[str] = []
        for case in self.cases:
            first: dict[str, int] = {}
            for row in self.rows:
                if row.drift.case == case:
                    first[row.drift.site] = min(row.drift.order, first.get(row.drift.site, row.drift.order))
            place = 0
            for site in sorted(first, key=lambda name: first[name]):
                if site in merged:
                    place = merged.index(site) + 1
                else:
                    merged.insert(place, site)
                    place += 1
        return tuple(merged)

    @cached_property
    def rows_of_site(self) -> dict[str, list[Row]]:
        """Rows by site, each list by case and execution order."""
        found: dict[str, list[Row]] = defaultdict(list)
        cases = {case: i for i, case in enumerate(self.cases)}
        for row in sorted(self.rows, key=lambda r: (cases[r.drift.case], r.drift.order, r.drift.port, r.drift.call)):
            found[row.drift.site].append(row)
        return found

    @cached_property
    def anchors(self) -> dict[str, str]:
        """The anchor of each site's page."""
        found: dict[str, str] = {}
        taken: set[str] = set()
        for site in self.sites:
            base = "site-" + re.sub(r"[^\w.-]+", "-", site)
            found[site] = next(a for a in chain([base], (f"{base}-{i}" for i in count(2))) if a not in taken)
            taken.add(found[site])
        return found

    def link(self, row: Row) -> Item:
        """The address of a row, which leads to it: its key is what `static/data.js` calls it by."""
        drift = row.drift
        key = f"{drift.case} {drift.cell} {drift.mode} {drift.address}"
        return Item(drift.address, Tone.CODE, self.anchors[drift.site], key)

    @cached_property
    def first_divergences(self) -> tuple[Row, ...]:
        """For each case and cell the failing row that a reader should look at first.

        That is the earliest one in execution order that is to blame for itself; else the earliest propagated one; else
        the earliest that was never compared. Isolated comes before chained.
        """
        found: dict[tuple[str, str], Row] = {}
        for row in self.failures:
            key = (row.drift.case, row.drift.cell)
            if key not in found or _first(row) < _first(found[key]):
                found[key] = row
        cells = {cell: i for i, (cell, _) in enumerate(self.places)}
        cases = {case: i for i, case in enumerate(self.cases)}
        return tuple(found[key] for key in sorted(found, key=lambda k: (cases[k[0]], cells[k[1]])))

    @cached_property
    def followers(self) -> Counter[tuple[str, str, str]]:
        """How many failing rows of a case and cell are merely put down to a value."""
        return Counter((row.drift.case, row.drift.cell, row.origin) for row in self.failures if row.origin)

    @cached_property
    def cell_labels(self) -> dict[str, str]:
        """A cell's short name: only the parts (dtype, mesh, platform) in which the run's cells differ."""
        cells = {cell: cell.split("/") for cell, _ in self.places}
        if len(cells) < 2 or len({len(parts) for parts in cells.values()}) != 1:
            return {cell: cell for cell in cells}
        differ = [i for i, values in enumerate(zip(*cells.values(), strict=True)) if len(set(values)) > 1]
        return {cell: "/".join(parts[i] for i in differ) for cell, parts in cells.items()}


def _first(row: Row) -> tuple[int, int, bool, str, int]:
    group = (0 if root(row) else 1) if row.verdict in COMPARED or row.diagnosis else 2
    return group, row.drift.order, row.drift.mode == "chained", row.drift.port, row.drift.call


def within_budget(rows: Iterable[Row]) -> list[Row]:
    """Without those that only a baseline lets pass: how near they are to a limit is no question."""
    return [row for row in rows if not row.accepted]


def worst(rows: Iterable[Row], at_most: int) -> list[Row]:
    """The rows that need a reader most, worst first."""
    return sorted(rows, key=severity, reverse=True)[:at_most]
