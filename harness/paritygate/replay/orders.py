"""Starts workers that compile orders, one each, and gathers what came of them. Writes `workers/` in its folder."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paritygate.core.cell import DtypePolicy
from paritygate.core.codec import from_json
from paritygate.core.compilation import Compilation, Order, Target
from paritygate.core.errors import InfrastructureError
from paritygate.replay.platforms import installed
from paritygate.replay.processes import Gathered, run_all

_EXTRAS = {"tpu": ("tpu-compile", ("libtpu",)), "gpu": ("gpu-compile", ("jax_plugins.xla_cuda12",))}


@dataclass(frozen=True)
class OrderEnvironment:
    """What is fixed when a process that compiles starts: `devices` are the CPU's virtual ones."""

    interpreter: str
    x64: bool
    devices: int = 1
    alone: str = ""  # it compiles for devices and runs on none
    processes: int = 1

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
        return tuple(order.cell for order in self.orders)


def require_compiler(target: Target) -> None:
    """Raises InfrastructureError, of one line, where the compiler for a target is not installed."""
    extra, modules = _EXTRAS.get(target.chip.platform, ("", ()))
    if not all(map(installed, modules)):
        raise InfrastructureError(f"no compiler for {target} here: pip install 'paritygate[{extra}]'")


def compile_all(
    orders: Sequence[Order],
    config: Mapping[str, Any],
    policies: Mapping[str, DtypePolicy],
    abstract: str,
    folder: Path,
    done: Callable[[Compilation], None],
    *,
    interpreter: str = "",
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 1800.0,
) -> list[Compilation]:
    """What came of each order, in their order; that of a worker that died, or ran out of time, says so.

    Raises InfrastructureError where the compiler for a target is not installed.
    """
    if not interpreter:
        for order in orders:
            require_compiler(order.target)
    jobs = [
        OrderJob(
            OrderEnvironment(
                interpreter or sys.executable,
                policies[order.dtype].x64,
                order.target.devices if order.target.chip.platform == "cpu" else 1,
            ),
            (order,),
            config,
            {order.dtype: policies[order.dtype]},
            abstract,
            tuple(str(directory) for directory in extensions),
        )
        for order in orders
    ]
    gathered = _Compilations(done)
    run_all(jobs, folder, workers or max(1, min(len(jobs), os.cpu_count() or 1)), timeout_s, None, gathered)
    found = {each.cell: each for each in gathered.compilations}
    return [found.get(order.cell) or _lost(order, gathered.problems) for order in orders]


def _lost(order: Order, problems: Sequence[str]) -> Compilation:
    said = next((problem for problem in problems if order.cell in problem), "the worker said nothing")
    return Compilation(order, order.cell, "lost", 0.0, reason=said.replace("\n", "; "))


class _Compilations(Gathered):
    def __init__(self, done: Callable[[Compilation], None]):
        super().__init__()
        self.compilations: list[Compilation] = []
        self._done = done

    def found(self, message: dict[str, Any]) -> None:
        self.compilations.append(from_json(Compilation, message["compilation"]))
        self._done(self.compilations[-1])
