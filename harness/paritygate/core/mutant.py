"""A mutant: the candidate with one planted fault, in one cell, and what the gate said of it. All: the kill matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from paritygate.core.cell import Cell
from paritygate.core.drift import Diagnosis, Drift
from paritygate.core.fault import FaultKind
from paritygate.core.hypothesis import Counterfactual

BLAMED_RIGHT = 0.95  # the least part of what is caught that must be put down to the right site, with its diagnosis


@dataclass(frozen=True)
class Mutant:
    """One fault in one cell: one square of the kill matrix, and one line of `golden/mutations.jsonl`.

    `expected` is whether it must be caught in this cell, `caught` whether the run ends with the exit code of a drift.
    `blamed` is the address that the first divergence is put down to, `diagnosis` what is said of it. `drifts` are those
    that came nearest to their limits or went furthest over them, so that other budgets can be applied to them without a
    device.
    """

    fault: str
    group: str
    kind: FaultKind
    case: str
    cell: str
    expected: bool
    caught: bool
    blamed: str = ""
    diagnosis: Diagnosis = Diagnosis.NONE
    blamed_right: bool = False
    diagnosis_right: bool = False
    drifts: tuple[Drift, ...] = ()

    @property
    def mesh(self) -> str:
        return Cell.parse(self.cell).mesh

    @property
    def is_harmless(self) -> bool:
        return self.kind == "harmless"

    @property
    def is_right(self) -> bool:
        """Whether what is caught is put down to the right site, for the right reason."""
        return self.blamed_right and self.diagnosis_right


@dataclass(frozen=True)
class KillMatrix:
    """Fault × cell."""

    mutants: tuple[Mutant, ...]

    @cached_property
    def expected(self) -> list[Mutant]:
        return self._those(lambda mutant: mutant.expected)

    @cached_property
    def missed(self) -> list[Mutant]:
        """Faults that the first cell that can see them did not see."""
        return self._those(lambda mutant: mutant.expected and not mutant.caught)

    @cached_property
    def caught(self) -> list[Mutant]:
        return self._those(lambda mutant: mutant.caught and not mutant.is_harmless)

    @cached_property
    def misblamed(self) -> list[Mutant]:
        """Caught, and put down to another site, or for another reason."""
        return [mutant for mutant in self.caught if not mutant.is_right]

    @cached_property
    def alarms(self) -> list[Mutant]:
        """Harmless variants that fail."""
        return self._those(lambda mutant: mutant.caught and mutant.is_harmless)

    @property
    def kill_rate(self) -> float:
        """The part of the faults that is caught in the first cell that can see them; 0 where there is none."""
        return 1 - len(self.missed) / len(self.expected) if self.expected else 0.0

    @property
    def blame_rate(self) -> float:
        """The part of what is caught that is put down to the right site, for the right reason; 0 where nothing is."""
        return 1 - len(self.misblamed) / len(self.caught) if self.caught else 0.0

    @property
    def ok(self) -> bool:
        blamed = not self.caught or self.blame_rate >= BLAMED_RIGHT
        return bool(self.mutants) and not self.missed and not self.alarms and blamed

    def _those(self, chosen: Callable[[Mutant], bool]) -> list[Mutant]:
        return [mutant for mutant in self.mutants if chosen(mutant)]


@dataclass(frozen=True)
class ExplainedFault:
    """What the hypotheses make of one planted fault in float64, beside the one that its entry names, if any.

    `counterfactual` is None where the first divergence is not semantic: then there is nothing to explain.
    """

    fault: str
    named: str
    counterfactual: Counterfactual | None

    @property
    def is_whole(self) -> bool:
        return self.counterfactual is not None and self.counterfactual.whole

    @property
    def is_right(self) -> bool:
        """Whether the named hypothesis explains everything, so that none is better; true where none is named."""
        found = self.counterfactual.explanations if self.counterfactual and self.is_whole else ()
        return not self.named or self.named in {each.hypothesis for each in found}
