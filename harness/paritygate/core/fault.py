"""A planted fault: one small change of one function of a candidate, and what a gate that works says of it."""

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["semantic", "precision", "decode", "mapping", "sharding", "harmless"]


@dataclass(frozen=True)
class Patch:
    """In the source of the function at `target`, `old` stands exactly once and becomes `new`.

    `target` is `module:function` or `module:Class.method`. The change is made to a copy of the function inside the
    worker, never to a file.
    """

    target: str
    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """What is changed, which case shows it, and what must be said of it.

    `case` is written `suite/preset.prompt`. `at` are the addresses one of which must be blamed first (fnmatch, so that
    `layers.*.attn:out` stands for every layer); empty for a harmless variant, which must pass in every cell.
    `sees` is the dtype policy of the first cell that can see it, widest first, and `mesh` the layout that it takes: one
    device is right with it. A `semantic`, `decode` or `mapping` fault must be diagnosed as semantic, a `precision`
    fault as precision, a `sharding` fault as sharding. `hypothesis` names the counterfactual that explains it, if there
    is one. `equivalent` is why a change that looks like a fault computes the same, or no less precisely than the
    reference: such a one is harmless.
    """

    name: str
    kind: FaultKind
    patches: tuple[Patch, ...]
    case: str
    at: tuple[str, ...] = ()
    sees: str = "f64"
    mesh: str = "single"
    hypothesis: str = ""
    equivalent: str = ""
    doc: str = ""


@dataclass(frozen=True)
class FaultGroup:
    """The faults of one part of a candidate: one file of `catalog/faults`."""

    name: str
    family: str
    faults: tuple[Fault, ...]
    doc: str = ""
