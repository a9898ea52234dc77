"""Compiles one pass of a full-size model for devices that may not be here, and reads what the compiler made."""

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
from jax.sharding import Mesh

from paritygate.audit.hlo import read
from paritygate.audit.products import products, uncounted
from paritygate.audit.programs import summary_of
from paritygate.audit.turns import executions
from paritygate.core.cell import DtypePolicy
from paritygate.core.codec import to_json
from paritygate.core.compilation import Compilation, Compiled, Order, Target
from paritygate.core.errors import UsageError
from paritygate.core.registry import extend, load
from paritygate.replay.orders import OrderJob, require_compiler
from paritygate.replay.telling import Telling

# What decides the program for a platform beside the candidate.
_PACKAGES = {
    "cpu": ("jax", "jaxlib"),
    "tpu": ("jax", "jaxlib", "libtpu"),
    "gpu": ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
}
# What XLA says of a program that needs more than there is: "Used 121.5G of 95.7G hbm", "Attempting to allocate 5.6GiB",
# "the total memory required for HLO temporaries (26.33G) exceeds available HBM (15.75G)"
_USED = re.compile(
    r"(?:[Uu]sed |required for .*?\(|[Aa]ttempting to allocate )(?P<needed>[\d.]+) ?(?P<unit>[KMGT]?)(?=i?B|\b)"
)
_TOO_LARGE = re.compile("RESOURCE_EXHAUSTED|[Rr]an out of memory|exceeds the (?:available )?memory|out of memory")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Abstract:
    """A function and shapes for its arguments, each with its sharding; `within` is open while it is traced.

    `donated` are the arguments whose room the results may take, `results` the results' shardings.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    within: AbstractContextManager[Any]
    mesh: Mesh
    donated: tuple[int, ...]
    results: Any
    notes: tuple[str, ...] = ()


def compile_orders(job: OrderJob, emit: Callable[[str, Any], None]) -> None:
    """Compiles every order of a job; `emit(kind, value)` is called with what came of each."""
    extend(job.extensions)
    abstract = load(job.abstract)
    tell = Telling(lambda at: emit("doing", at))
    tell.listen()
    for cell, order in zip(job.cells, job.orders, strict=True):
        tell(cell=cell)
        emit("compilation", to_json(compiled(order, job.config, job.policies[order.dtype], abstract)))
    emit("done", {"cells": [order.cell for order in job.orders]})


def devices_of(target: Target) -> list[Any]:
    """The target's devices, to compile for and not to run on; raises UsageError where there are no such ones."""
    require_compiler(target)
    here = jax.devices("cpu")  # plugins are found while a backend starts, and only once
    if target.chip.platform == "cpu":
        return here
    from jax.experimental.topologies import get_topology_desc

    try:
        if target.chip.platform == "tpu":
            devices = get_topology_desc(str(target), platform="tpu").devices
        else:
            hosts, each = (1, *target.shape)[-2:]
            devices = get_topology_desc(
                "", platform="cuda", target_config=target.chip.proto, topology=f"1x{hosts}x{each}"
            ).devices
    except jax.errors.JaxRuntimeError as reason:
        got = str(reason).splitlines()[0]
        raise UsageError(
            "no such target", where=str(target), got=got, expected=f"one like {target.chip.example}"
        ) from None
    if len(devices) != target.devices:
        raise UsageError(
            "target has another number of devices",
            where=str(target),
            expected=str(target.devices),
            got=str(len(devices)),
        )
    return devices


def compiled(
    order: Order, config: Mapping[str, Any], policy: DtypePolicy, abstract: Callable[..., Abstract]
) -> Compilation:
    """What comes of an order, not yet held against the target's peaks. A compiler's refusal is an outcome."""
    started = time.monotonic()
    outcome = Compilation(order, order.cell, "failed", 0.0)
    try:
        program = abstract(config, policy, order, devices_of(order.target))
    except UsageError as reason:
        return dataclasses.replace(outcome, wall_s=_since(started), reason=_one_line(reason))
    with program.within:
        lowered = jax.jit(program.function, donate_argnums=program.donated, out_shardings=program.results).lower(
            *program.arguments
        )
    before = time.monotonic()
    outcome = dataclasses.replace(outcome, notes=program.notes)
    try:
        found = lowered.compile()
    except jax.errors.JaxRuntimeError as reason:
        text, compile_s = str(reason), _since(before)
        return dataclasses.replace(
            outcome,
            outcome="too large" if _TOO_LARGE.search(text) else "failed",
            wall_s=_since(started),
            compile_s=compile_s,
            needed_bytes=needed(text),
            reason=text.strip().splitlines()[0],
        )
    compile_s = _since(before)
    module = read(found.as_text() or "")
    times, loops = executions(module)
    packages = _PACKAGES[order.target.chip.platform]
    versions = {name: number for name in packages if (number := _version(name))}
    made = Compiled(
        dots=products(module, times, order.target.chip.platform),
        program=dataclasses.replace(
            summary_of(found, dict(order.axes)), name=order.name, cell=order.cell, versions=versions
        ),
        loops=loops,
    )
    unread = uncounted(module, times)
    notes = program.notes + ((f"work inside custom calls is not counted: {', '.join(unread)}",) if unread else ())
    fits = made.peak_bytes <= order.target.chip.memory_bytes
    return dataclasses.replace(
        outcome,
        outcome="fits" if fits else "too large",
        wall_s=_since(started),
        compile_s=compile_s,
        compiled=made,
        needed_bytes=made.peak_bytes,
        notes=notes,
    )


def needed(text: str) -> int:
    """The bytes that a message of XLA says a program needs, 0 where it says none."""
    found = _USED.search(text)
    return round(float(found["needed"]) * _UNITS[found["unit"]]) if found else 0


def _one_line(reason: Exception) -> str:
    return "; ".join(" ".join(line.split()) for line in str(reason).splitlines())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)
