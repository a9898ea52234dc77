"""What a replay varies: dtype policy, mesh layout, platform, and their product, the cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from paritygate.core.errors import UsageError


class Mode(StrEnum):
    """How the candidate is run on a golden."""

    ISOLATED = "isolated"  # each site gets its golden inputs
    CHAINED = "chained"  # the whole model runs from tokens
    GRADIENT = "gradient"  # the loss of the whole model is differentiated by every weight


@dataclass(frozen=True)
class DtypePolicy:
    """Named dtypes per role, plus the matmul precision.

    `compute` is the model dtype, `island` that of the places where the reference computes wider (norm statistics,
    rope, router sigmoid, ...). `roles` overrides single roles by name. `peer` is the torch dtype whose drift is the
    noise floor, empty for the oracle's own dtype, which is judged against fixed limits. `x64` is what JAX must be
    started with.

    `matmul` names an arithmetic of `audit/arithmetic.py` that matrix products run in, emulated on every platform; empty
    for that of the dtype. torch has no peer that computes so: `floor` is then the policy whose peer's floors and
    budgets stand in, `flow` the one whose peer shows the dtype that each value must have (default: `floor`), and
    `roundoff` what the minimum of a budget that names the arithmetic is counted in, where that is coarser than the
    dtype's own.
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
    flow: str = ""
    roundoff: float = 0.0

    @property
    def judged_as(self) -> str:
        """The policy whose floors and budgets judge this one."""
        return self.floor or self.name

    @property
    def typed_as(self) -> str:
        """The policy whose peer shows the dtypes that values must have."""
        return self.flow or self.judged_as

    @property
    def floor_from(self) -> str:
        """Where the noise floor comes from, in words."""
        if not self.peer:
            return "none: fixed limits"
        if not self.floor:
            return f"peer in torch {self.peer}"
        coarser = f", minimum in roundoffs of 2^{math.log2(self.roundoff):.0f}" if self.roundoff else ""
        return f"borrowed from {self.floor}, whose peer is torch {self.peer}{coarser}"

    def dtype(self, role: str) -> str:
        """The dtype name of a role: `compute`, or an island's."""
        return self.roles.get(role, self.compute if role == "compute" else self.island)


@dataclass(frozen=True)
class MeshLayout:
    """A named device grid and its logical-axis rules. `single` has one device and no rules."""

    name: str
    devices: int = 1


@dataclass(frozen=True)
class Cell:
    """One dtype policy on one mesh layout on one platform, written `bf16/single/cpu`."""

    dtype: str
    mesh: str
    platform: str

    def __str__(self) -> str:
        return f"{self.dtype}/{self.mesh}/{self.platform}"

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """The inverse of `str`; raises UsageError."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts):
            raise UsageError("bad cell", where=repr(text), expected="dtype/mesh/platform, such as bf16/single/cpu")
        return cls(*parts)
