"""What a replay varies: dtype policy, mesh layout, platform, and their product, the cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Literal

from paritygate.core.errors import UsageError

Axes = tuple[tuple[str, int], ...]  # axis kinds of a mesh, each with its size, the major first
AxisTypes = Literal["auto", "explicit"]
SINGLE = "single"  # the layout of one device

# Roles that follow `compute` where a policy does not name them; every other role is an island.
FOLLOWING = ("param", "residual", "scores", "router_logits", "logits")


class Mode(StrEnum):
    """How the candidate is run on a golden."""

    ISOLATED = "isolated"  # each site gets its golden inputs
    CHAINED = "chained"  # the whole model runs from tokens
    GRADIENT = "gradient"  # the loss of the whole model is differentiated by every weight


@dataclass(frozen=True)
class DtypePolicy:
    """Named dtypes per role, plus the matmul precision.

    `compute` is the model dtype, `island` that of the places where the reference computes wider (norm statistics,
    rope, router sigmoid, ...). `roles` overrides single roles by name, and says of the values that have such a role
    which dtype they must have, whatever the reference's have. `peer` is the torch dtype whose drift is the
    noise floor, empty for the oracle's own dtype, which is judged against fixed limits. `x64` is what JAX must be
    started with.

    `matmul` names an arithmetic of `audit/arithmetic.py` that matrix products run in, emulated on every platform, the
    peer's too; empty for that of the dtype. `floor` is, where torch has no peer that computes so, the policy whose
    peer's floors stand in.
    """

    name: str
    compute: str
    island: str
    peer: str
    roles: Mapping[str, str] = field(default_factory=dict)
    x64: bool = False
    doc: str = ""
    matmul: str = ""
    floor: str = ""

    @property
    def judged_as(self) -> str:
        """The policy whose floors judge this one."""
        return self.floor or self.name

    @property
    def plain(self) -> str:
        """The policy with torch's own products whose budgets, and whose dtypes of values, are this one's too."""
        return self.floor or self.name.partition("@")[0]

    @property
    def floor_from(self) -> str:
        """Where the noise floor comes from, in words."""
        if not self.peer:
            return "none: fixed limits"
        if self.floor:
            return f"borrowed from {self.floor}, whose peer is torch {self.peer}"
        return f"peer in torch {self.peer}" + (f", its products emulated in {self.matmul}" if self.matmul else "")

    def precision_on(self, platform: str) -> str | None:
        """What JAX is asked for where the candidate leaves the precision of a product to it; None leaves it to JAX.

        Accelerators round float32 operands by default, to bfloat16 or tf32, and no policy means that: one that emulates
        an arithmetic rounds operands itself. Not where products are of 16 bits, which have nothing to lose, and which a
        TPU does not compile at the highest where they are ragged.
        """
        return "highest" if platform != "cpu" and self.compute in ("float32", "float64") else None

    def dtype(self, role: str) -> str:
        """The dtype name of a role: its own, or that of `compute`, or an island's."""
        follows = role == "compute" or role in FOLLOWING
        return self.roles.get(role, self.compute if follows else self.island)


def written(axes: Axes) -> str:
    """`fsdp16tp4`; without axes `single`."""
    return "".join(f"{kind}{size}" for kind, size in axes) or SINGLE


@dataclass(frozen=True)
class MeshLayout:
    """A named grid of devices and the rules of how arrays are split over it. `single` has one device and no rules.

    `rules` maps a logical axis of a model's arrays (`batch`, `heads`) to the mesh axes that split it, the major first.
    `types` is what JAX calls the types of the axes: `auto` leaves the sharding of what lies between to the compiler,
    under `explicit` each array has its own in its type.
    """

    name: str
    axes: Axes = ()
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    types: AxisTypes = "auto"

    @property
    def devices(self) -> int:
        return prod(size for _, size in self.axes)

    def ways(self, mesh_axes: Sequence[str]) -> int:
        """Into how many parts these mesh axes together split a dimension."""
        return prod(dict(self.axes)[axis] for axis in mesh_axes)

    def split(self, logical: Sequence[str], shape: Sequence[int]) -> tuple[tuple[str, ...], ...]:
        """The mesh axes that split each dimension of an array whose dimensions are these logical axes.

        A mesh axis splits one dimension only, the first that asks for it. Of the axes of a dimension as many are taken,
        from the major one on, as divide it. An empty name, or one without a rule, is not split.
        """
        used: set[str] = set()
        found: list[tuple[str, ...]] = []
        for name, size in zip(logical, shape, strict=True):
            axes = tuple(axis for axis in self.rules.get(name, ()) if axis not in used)
            used.update(axes)
            while size % self.ways(axes):
                axes = axes[:-1]
            found.append(axes)
        return tuple(found)


COMPILED = " (compiled)"


@dataclass(frozen=True)
class Cell:
    """One dtype policy on one mesh layout on one platform, written `bf16/single/cpu`.

    In the place of a platform may be a target, devices that need not be there: then programs are compiled for it and
    nothing is run, written `bf16/fsdp16tp4/v5p:4x4x4 (compiled)`.
    """

    dtype: str
    mesh: str
    platform: str

    def __str__(self) -> str:
        return f"{self.dtype}/{self.mesh}/{self.platform}" + (COMPILED if self.is_compiled else "")

    @property
    def is_compiled(self) -> bool:
        return ":" in self.platform

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """The inverse of `str`; raises UsageError."""
        parts = text.removesuffix(COMPILED).split("/")
        if len(parts) != 3 or not all(parts):
            raise UsageError("bad cell", where=repr(text), expected="dtype/mesh/platform, such as bf16/single/cpu")
        return cls(*parts)
