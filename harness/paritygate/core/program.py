"""What a compiled program communicates, holds and costs, on each device of a mesh. No JAX, no NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Whether a program does something once, or once a turn of a loop.
Loop = Literal["once", "loop"]


@dataclass(frozen=True)
class Collective:
    """An exchange between devices; alike ones, of one line and one weight, are one, and `count` says how many.

    `axes` are the axes of the mesh that it goes over, `fsdp+tp`, or in words a grouping that no axes make. `dtype` and
    `dims` are of its result on one device, `bytes` that result's, each time. `where` is the function,
    `module:Class.method`, and `line` is `file.py:88`; both are empty where XLA kept neither. `weight` is the parameter
    of the program that is exchanged, its numbers as `*`. `turns` is how often the loops around it turn, multiplied, one
    of which that is not known counting once; 0 outside of loops.
    """

    kind: str
    axes: str
    dtype: str
    dims: tuple[int, ...]
    bytes: int
    where: str = ""
    line: str = ""
    loop: Loop = "once"
    turns: int = 0
    weight: str = ""
    count: int = 1


@dataclass(frozen=True)
class Replicated:
    """A tensor that every device holds whole: a parameter of the program, or what an all-gather over the mesh gives.

    `bytes` is on each device. Alike ones are one, as of Collective.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    bytes: int
    where: str = ""
    line: str = ""
    count: int = 1


@dataclass(frozen=True)
class Warned:
    """What is doubtful in a program whatever was recorded of it. `rule` is `device-sum` or `reshard`."""

    rule: str
    where: str
    line: str
    what: str


@dataclass(frozen=True)
class Program:
    """The summary of one compiled program, named by what it computes and by its cell.

    `memory_bytes` are per device, by kind: `arguments`, `results`, `temporaries`, `code`, and `shared`, the room of
    arguments that results take over. `flops` is XLA's estimate, of one device, a loop's body once. `versions` are those
    that it was compiled with.
    """

    name: str = ""
    cell: str = ""
    collectives: tuple[Collective, ...] = ()
    replicated: tuple[Replicated, ...] = ()
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    flops: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    warned: tuple[Warned, ...] = ()

    @property
    def case(self) -> str:
        """Of a program of a run, whose name begins with it."""
        return self.name.partition(" ")[0]


# Whether a change of a program fails the gate, or is only told.
Weight = Literal["fails", "told"]


@dataclass(frozen=True)
class Change:
    """One difference between a program and what was recorded of it, in words."""

    name: str
    cell: str
    what: str
    weight: Weight = "fails"

    @property
    def text(self) -> str:
        return f"{self.name}  {self.cell}: {self.what}"


@dataclass(frozen=True)
class ProgramChanges:
    """How the programs of a run differ from what was recorded, those that fail the gate first. In `programs.json`."""

    changes: tuple[Change, ...] = ()

    @property
    def failing(self) -> tuple[Change, ...]:
        return tuple(each for each in self.changes if each.weight == "fails")
