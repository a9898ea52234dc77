"""What a worker is told (a Job, by file) and what it says back (lines on its standard output)."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from paritygate.core.cell import Cell, DtypePolicy, MeshLayout, Mode
from paritygate.core.codec import canonical
from paritygate.core.family import Case, Family
from paritygate.core.fault import Patch
from paritygate.core.run import Routing
from paritygate.core.sensitivity import Variation
from paritygate.core.site import address
from paritygate.replay.platforms import JAX_NAMES

# As many as the largest layouts of the catalog have, so that all that a CPU can show share a worker.
VIRTUAL_DEVICES = 8


@dataclass(frozen=True)
class Environment:
    """What is fixed when a JAX process starts. Cells with equal environments share a worker.

    `devices` of a CPU are virtual ones that share its cores. Where `processes` are several, the worker is as many
    processes of one `jax.distributed` system, and the devices are those of all of them.
    """

    interpreter: str
    platform: str
    x64: bool
    devices: int = 1
    rounding: Literal["fused", "every"] = "fused"  # `every`: of each operation, also where XLA joins several into one
    processes: int = 1

    @property
    def alone(self) -> str:
        """The device that no other worker may use meanwhile: the memory of an accelerator is not shared."""
        return "" if self.platform == "cpu" else self.platform

    def variables(self, compile_cache: str) -> dict[str, str]:
        """The environment variables that start JAX this way."""
        found = {
            "JAX_PLATFORMS": JAX_NAMES[self.platform],
            "JAX_ENABLE_X64": "1" if self.x64 else "0",
            # NumPy only measures small arrays here: BLAS threads would spin on the cores that XLA computes on.
            "OPENBLAS_NUM_THREADS": "1",
        }
        if self.platform == "gpu":
            found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the GPU may be somebody's display, or another run's
        flags = [os.environ.get("XLA_FLAGS", "")]
        if self.rounding == "every":
            flags.append("--xla_allow_excess_precision=false")
        if self.platform == "cpu" and self.devices > 1:
            flags.append(f"--xla_force_host_platform_device_count={-(-self.devices // self.processes)}")
            # Nearly all time on a mesh is compiling. This leaves LLVM's optimisations out, which halves it, and none of
            # XLA's: the values were the same bits.
            flags.append("--xla_backend_optimization_level=0")
            # The emitters start an MLIR context for each fusion, and pay only where LLVM optimises: without them it is
            # a third again, and a scatter becomes a loop. The programs recorded of low precision were made with them.
            flags.append(f"--xla_cpu_use_fusion_emitters={'false' if self.x64 else 'true'}")
            found["TF_CPP_MIN_LOG_LEVEL"] = "2"  # XLA explains at length where it replicates a value on the way
        if self.platform == "cpu" and self.processes > 1:
            found["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = "gloo"
        if flags[1:]:
            found["XLA_FLAGS"] = " ".join(flags).strip()
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

    It is all `cells` of all `cases`, of the candidate as it is, or with `patches`, then whatever is in `plantings`, and
    what all `cases` cost in each of the `variations`.
    `keep` is the folder in which every value that is compared is kept; empty for none. `repeated` names the cells of
    which a case was repeated in an earlier part of the run, and says whether its bits differed. `asked` is whose drifts
    are to be blamed, for which JAX's x64 must be on and `oracle` names the policy that computes in float64.
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
    layouts: Mapping[str, MeshLayout] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()
    plantings: tuple[Planting, ...] = ()
    variations: tuple[Variation, ...] = ()
    keep: str = ""
    routing: Routing = "own"
    asked: tuple[Asked, ...] = ()
    oracle: str = ""
    repeated: Mapping[str, bool] = field(default_factory=dict)


def parts_of(jobs: Iterable[Job]) -> dict[str, str]:
    """What a plan is made of, each part by its sha256: equal parts, equal work. Folders do not count."""
    parts: dict[str, Any] = {}
    for job in jobs:
        parts |= {f"cell {cell}": (job.environment, job.cases, job.modes, job.routing) for cell in job.cells}
        parts |= {f"mesh layout {name}": layout for name, layout in job.layouts.items()}
        parts |= {f"family {name}": family for name, family in job.families.items()}
        parts |= {f"dtype policy {name}": policy for name, policy in job.policies.items()}
        parts |= {"fault": job.patches} if job.patches else {}
    return {name: hashlib.sha256(canonical(part).encode()).hexdigest() for name, part in parts.items()}


def environment_of(
    interpreter: str, policy: DtypePolicy, layout: MeshLayout, platform: str, processes: int = 1
) -> Environment:
    """What a cell's worker is started with. A single device is of one process."""
    if layout.devices == 1:
        return Environment(interpreter, platform, policy.x64)
    virtual = VIRTUAL_DEVICES if platform == "cpu" else 1
    return Environment(interpreter, platform, policy.x64, max(layout.devices, virtual), processes=processes)


def sources_hash(path: Path) -> str:
    """The sha256 of a module's file or, where `path` is a package's `__init__.py`, of all Python files beside it."""
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
