"""A full-size program compiled for hardware that may not be here: the target, what was asked, what came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from paritygate.core.cell import Axes, Cell, written
from paritygate.core.errors import UsageError
from paritygate.core.program import Program

Platform = Literal["tpu", "gpu", "cpu"]
Pass = Literal["prefill", "decode", "train"]
# `lost` says nothing of the program: its worker died, or ran out of time.
Outcome = Literal["fits", "too large", "failed", "lost"]


@dataclass(frozen=True)
class Chip:
    """A kind of device as its maker states it, per device as JAX counts them, not per package.

    `flops` is the peak of matrix products, FLOP/s by the dtype of the operands as XLA writes it. `link_bytes_s` is what
    a device sends over all its links together, one way; `network_bytes_s` the same between hosts where that is another
    network, 0 where it is not. `ranks` are how many numbers the shape of a target may have. `each` is how many devices
    a place of the shape stands for. `proto` describes a GPU to XLA.
    """

    name: str
    platform: Platform
    memory_bytes: int
    flops: Mapping[str, float]
    memory_bytes_s: float
    link_bytes_s: float
    ranks: tuple[int, ...]
    example: str
    network_bytes_s: float = 0.0
    each: int = 1
    proto: str = ""


@dataclass(frozen=True)
class Target:
    """Some chips of one kind, written `v5p:4x4x4` or `h100:8`."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def devices(self) -> int:
        return prod(self.shape) * self.chip.each

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Order:
    """What is to be compiled: a size of a family, its pass over batch × length tokens, and where it is to run.

    It is a case of the suite `full` in a cell. Of `decode`, `length` is that of the cache. `dispatch` is how tokens get
    to their experts, in the candidate's words.
    """

    family: str
    size: str
    target: Target
    axes: Axes
    dtype: str
    mode: Pass
    batch: int
    length: int
    dispatch: str = "auto"

    @property
    def mesh(self) -> str:
        return written(self.axes)

    @property
    def name(self) -> str:
        """What it computes, a case, by which its program is recorded: `scout.prefill-16x2048`."""
        dispatch = "" if self.dispatch == "auto" else f"-{self.dispatch}"
        return f"{self.size}.{self.mode}-{self.batch}x{self.length}{dispatch}"

    @property
    def cell(self) -> str:
        """The cell that this audits, as `bf16/fsdp16tp4/v5p:4x4x4 (compiled)`."""
        return str(Cell(self.dtype, self.mesh, str(self.target)))

    @property
    def new_tokens(self) -> int:
        return self.batch * (1 if self.mode == "decode" else self.length)


@dataclass(frozen=True)
class Dot:
    """Matrix products of one line that are alike, per device; `flops` is of all of them together.

    `lhs`, `rhs` and `result` are dtypes as XLA writes them; `passes` how often the unit for products runs over narrower
    operands to keep what `precision` asks for, 0 where the compiled program does not say. `kernel` is what computes it
    where that is named.
    """

    line: str
    lhs: str
    rhs: str
    result: str
    precision: str
    passes: int
    kernel: str
    count: int
    flops: float


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind and dtype over the same axes, per device and pass.

    `result_bytes` is what they give a device, `wire_bytes` what it sends for them in a ring, or once round for a
    permutation; each with the turns of the loops around it.
    """

    kind: str
    dtype: str
    axes: str
    count: int
    result_bytes: int
    wire_bytes: int


@dataclass(frozen=True)
class Compiled:
    """What the compiler made, per device. The `loops` have unknown turns: counted once."""

    dots: tuple[Dot, ...]
    program: Program
    loops: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """What must be there at once; an argument whose room a result takes over counts once."""
        kinds = ("arguments", "results", "temporaries", "code")
        memory = self.program.memory_bytes
        return sum(memory.get(kind, 0) for kind in kinds) - memory.get("shared", 0)

    @property
    def flops(self) -> float:
        return sum(dot.flops for dot in self.dots)


@dataclass(frozen=True)
class Roofline:
    """Seconds that a pass takes at the least, were each part alone and at its peak; `notes` say what is assumed."""

    compute_s: float
    memory_s: float
    communication_s: float
    notes: tuple[str, ...] = ()

    @property
    def bound_s(self) -> float:
        return max(self.compute_s, self.memory_s, self.communication_s)

    @property
    def bound_by(self) -> str:
        parts = {"compute": self.compute_s, "memory": self.memory_s, "communication": self.communication_s}
        return max(parts, key=parts.__getitem__)


@dataclass(frozen=True)
class Compilation:
    """One order and what came of it; `reason` says why there is no `compiled`, `needed_bytes` what it would take."""

    order: Order
    cell: str
    outcome: Outcome
    wall_s: float
    compile_s: float = 0.0
    compiled: Compiled | None = None
    traffic: tuple[Traffic, ...] = ()
    roofline: Roofline | None = None
    needed_bytes: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()


def require_fitting(axes: Axes, target: Target, suggestions: list[str]) -> None:
    """Raises UsageError unless the mesh has as many devices as the target."""
    asked = prod(size for _, size in axes)
    if asked != target.devices:
        raise UsageError(
            "mesh and target differ in size",
            where=written(axes),
            expected=f"{target.devices} devices, those of {target}",
            got=str(asked),
            try_=", ".join(f"--mesh {name}" for name in suggestions),
        )
