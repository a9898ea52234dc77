"""Starts workers that compile orders, one each, and gathers what came of them. Writes `workers/` in its folder."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paritygate.catalog.select import families, policies
from paritygate.catalog.sizes import SIZES
from paritygate.core.cell import DtypePolicy
from paritygate.core.codec import from_json
from paritygate.core.compilation import Compilation, Order, Target
from paritygate.core.errors import InfrastructureError, unknown_name
from paritygate.core.progress import SILENT, Piece, Progress
from paritygate.replay.executor import Gathered, run_all
from paritygate.replay.platforms import installed
from paritygate.replay.processes import Local

_EXTRAS = {"tpu": ("tpu-compile", ("libtpu",)), "gpu": ("gpu-compile", ("jax_plugins.xla_cuda12",))}


@dataclass(frozen=True)
class OrderEnvironment:
    """What is fixed when a process that compiles starts: `devices` are the CPU's virtual ones."""

    interpreter: str
    x64: bool
    devices: int = 1
    alone: str = ""  # it compiles for devices and runs on none
    processes: int = 1

    @property
    def platform(self) -> str:
        return "cpu"

    def variables(self, compile_cache: str) -> dict[str, str]:
        """No compile cache: the time that compiling takes is a result."""
        flags = os.environ.get("XLA_FLAGS", "")
        return {
            "JAX_PLATFORMS": "cpu",  # none of the target's devices is there to be started
            "JAX_ENABLE_X64": "1" if self.x64 else "0",
            "OPENBLAS_NUM_THREADS": "1",
            "TPU_SKIP_MDS_QUERY": "1",  # else libtpu asks the network which TPU it is on
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nobody has a TPU to itself here
            "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={self.devices}".strip(),
        }


@dataclass(frozen=True)
class OrderJob:
    """The work of one worker: orders of one size, whose `config` it is; `abstract` is the candidate's function."""

    environment: OrderEnvironment
    orders: tuple[Order, ...]
    config: Mapping[str, Any]
    policies: Mapping[str, DtypePolicy]
    abstract: str
    extensions: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(map(_named, self.orders))


def without_compiler(target: Target) -> str:
    """One line that says what to install where the compiler for a target is not; empty where it is."""
    extra, modules = _EXTRAS.get(target.chip.platform, ("", ()))
    return "" if all(map(installed, modules)) else f"no compiler for {target} here: pip install 'paritygate[{extra}]'"


def require_compiler(target: Target) -> None:
    """Raises InfrastructureError, of that line."""
    if lacking := without_compiler(target):
        raise InfrastructureError(lacking)


def compile_all(
    orders: Sequence[Order],
    folder: Path,
    done: Callable[[Compilation], None] = lambda found: None,
    *,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 1800.0,
    progress: Progress = SILENT,
) -> list[Compilation]:
    """What came of each order, in their order; that of a worker that died, or ran out of time, says so."""
    jobs = [_job(order, extensions) for order in orders]
    limit = workers or max(1, min(len(jobs), os.cpu_count() or 1))
    progress.planned([[Piece(cell, "", 1) for cell in job.cells] for job in jobs], limit, "programs")
    gathered = _Compilations(done, progress)
    run_all(jobs, folder, Local(limit), timeout_s, None, gathered)
    found = {_named(each.order): each for each in gathered.compilations}
    return [found.get(_named(order)) or _lost(order, gathered.problems) for order in orders]


def refuse_what_is_lacking(orders: Sequence[Order]) -> None:
    """Raises InfrastructureError where a compiler is not installed, UsageError on words that a candidate lacks."""
    for order in orders:
        candidate = families()[order.family].candidate
        if order.dispatch not in candidate.dispatches:
            raise unknown_name("dispatch", order.dispatch, list(candidate.dispatches))
        if not candidate.interpreter:  # what another environment has, its worker says
            require_compiler(order.target)


def _job(order: Order, extensions: tuple[Path, ...]) -> OrderJob:
    candidate, policy = families()[order.family].candidate, policies()[order.dtype]
    virtual = order.target.devices if order.target.chip.platform == "cpu" else 1
    return OrderJob(
        OrderEnvironment(candidate.interpreter or sys.executable, policy.x64, virtual),
        (order,),
        SIZES[order.size].config,
        {order.dtype: policy},
        candidate.abstract,
        tuple(str(directory) for directory in extensions),
    )


def _named(order: Order) -> str:
    return f"{order.name} {order.cell}"


def _lost(order: Order, problems: Sequence[str]) -> Compilation:
    said = next((problem for problem in problems if _named(order) in problem), "the worker said nothing")
    return Compilation(order, order.cell, "lost", 0.0, reason=said.replace("\n", "; "))


class _Compilations(Gathered):
    def __init__(self, done: Callable[[Compilation], None], progress: Progress):
        super().__init__(progress)
        self.compilations: list[Compilation] = []
        self._done = done

    def found(self, message: dict[str, Any], number: int) -> None:
        found = from_json(Compilation, message["compilation"])
        self.compilations.append(found)
        self._done(found)
        self.progress.done(number, _named(found.order), "")
