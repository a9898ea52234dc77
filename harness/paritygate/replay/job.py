"""What a worker is told (a Job, by file) and what it says back (lines on its standard output)."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.family import Case, Family
from paritygate.core.fault import Patch
from paritygate.core.run import Routing
from paritygate.core.sensitivity import Variation
from paritygate.core.site import address


@dataclass(frozen=True)
class Environment:
    """What is fixed when a JAX process starts. Cells with equal environments share a worker."""

    interpreter: str
    platform: str
    x64: bool
    devices: int = 1
    rounding: Literal["fused", "every"] = "fused"  # `every`: of each operation, also where XLA joins several into one

    def variables(self, compile_cache: str) -> dict[str, str]:
        """The environment variables that start JAX this way."""
        found = {
            "JAX_PLATFORMS": self.platform,
            "JAX_ENABLE_X64": "1" if self.x64 else "0",
            # NumPy only measures small arrays here: BLAS threads would spin on the cores that XLA computes on.
            "OPENBLAS_NUM_THREADS": "1",
        }
        if self.rounding == "every":
            found["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_allow_excess_precision=false".strip()
        if compile_cache:
            # Everything is worth keeping: a run compiles hundreds of programs of a few milliseconds each.
            found |= {
                "JAX_COMPILATION_CACHE_DIR": compile_cache,
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
                # The lint reads lines from what is compiled: those of an earlier state of a file are none.
                "JAX_COMPILATION_CACHE_INCLUDE_METADATA_IN_KEY": "1",
            }
        return found


@dataclass(frozen=True)
class Asked:
    """A value whose drift is to be blamed on lines of the candidate.

    `what` is asked: how much each line adds, or where the candidate first parts from the reference by more than
    `limit`. `drift` is what a run measured.
    """

    suite: str
    case: Case
    cell: Cell
    mode: str
    site: str
    port: str
    call: int
    what: Literal["lines", "parting"]
    drift: float = 0.0
    limit: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """As of the `Blame` that answers it."""
        return (self.case.id, str(self.cell), self.mode, address(self.site, self.port, self.call))


@dataclass(frozen=True)
class Planting:
    """One fault to plant, and what is done while it is: one case of one suite replayed in some cells, drifts blamed."""

    fault: str
    patches: tuple[Patch, ...]
    suite: str
    case: Case
    cells: tuple[Cell, ...]
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Job:
    """The work of one worker, everything spelled out, so that it reads no catalog.

    It is all `cells` of all `cases`, of the candidate as it is, then whatever is in `plantings`, and what all `cases`
    cost in each of the `variations`.
    `keep` is the folder in which every value that is compared is kept; empty for none. `asked` is whose drifts are to
    be blamed, for which JAX's x64 must be on and `oracle` names the policy that computes in float64.
    """

    environment: Environment
    golden: str
    suite: str
    cases: tuple[Case, ...]
    cells: tuple[Cell, ...]
    modes: tuple[Mode, ...]
    families: Mapping[str, Family]
    policies: Mapping[str, DtypePolicy]
    extensions: tuple[str, ...] = ()
    plantings: tuple[Planting, ...] = ()
    variations: tuple[Variation, ...] = ()
    keep: str = ""
    routing: Routing = "own"
    asked: tuple[Asked, ...] = ()
    oracle: str = ""


def sources_hash(path: Path) -> str:
    """The sha256 of a module's file or, where `path` is a package's `__init__.py`, of all Python files beside it."""
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
