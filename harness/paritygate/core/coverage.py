"""Coverage: what a candidate is made of, and which parts of the reference's computation no site stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paritygate.core.drift import Verdict
from paritygate.core.golden import TensorRef

WHOLE = "(the whole model)"


@dataclass(frozen=True)
class Inspection:
    """What a replay found a candidate to be made of, in one case and cell. Written to `inspections.jsonl`.

    `modules` are the paths of its modules. `parameters` are its parameters under the reference's names, each by what
    its values would be stored as: equal shapes and values are equal refs. `sources` is, by site, where its module is
    called in the candidate, `jax_llama4/moe.py:31`. `unused` counts, by path in the candidate,
    the elements of a variable that no such parameter takes, `shared` those that several take. `problem` is why the
    parameters are not known. On a mesh it says only, by path, how a parameter or a cache lies otherwise than it should,
    or where copies of it differ: `placement`.
    """

    case: str
    cell: str
    modules: tuple[str, ...]
    parameters: Mapping[str, TensorRef] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    placement: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class PartKind(StrEnum):
    """What a computation has parts of."""

    MODULE = "module"  # of the reference, as are the next two
    FUNCTION = "function"
    PARAMETER = "parameter"
    GLUE = "glue"
    CANDIDATE_MODULE = "candidate module"
    CANDIDATE_PARAMETER = "candidate parameter"
    PLACEMENT = "placement"  # of a parameter or a cache on a mesh
    REFERENCE = "reference"  # as a whole, as is the next
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Gap:
    """A part that is not covered as it must be: `missing`, or a `mismatch`. It fails the gate.

    `where` names the part, and `why` says what is wrong with it in `cases`.
    """

    verdict: Verdict
    part: PartKind
    where: str
    why: str
    cases: tuple[str, ...]

    @property
    def text(self) -> str:
        """`missing  parameter layers.0.up.weight: no site stands for it  (toy-2.plain)`"""
        return f"{self.verdict}  {self.part} {self.place}: {self.why}  ({', '.join(self.cases)})"

    @property
    def place(self) -> str:
        """`where`, in words where it is the empty path."""
        return self.where or WHOLE


@dataclass(frozen=True)
class CoveredGlue:
    """A glue step of a family, and in which of the run's chained values it was seen."""

    family: str
    name: str
    module: str
    ports: tuple[str, ...]
    doc: str = ""


@dataclass(frozen=True)
class Unexercised:
    """A value of a config branch that no preset of the run has chosen."""

    family: str
    key: str
    value: Any
    doc: str = ""


@dataclass(frozen=True)
class Coverage:
    """What a run covers. Written to `coverage.json`. `parts` counts what there is to cover, by kind of part."""

    parts: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    glue: tuple[CoveredGlue, ...] = ()
    unexercised: tuple[Unexercised, ...] = ()
