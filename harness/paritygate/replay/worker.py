"""One replay process: reads a Job, writes a JSON line per result to standard output, then one about itself.

It is started as a file with the interpreter of the cell's environment, which needs JAX, Flax, NumPy, ml_dtypes and the
candidate. The paritygate that it belongs to is the only package it adopts from outside that environment.
"""

import importlib.util
import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from paritygate.core.cell import Cell, DtypePolicy, Mode
    from paritygate.core.family import Case
    from paritygate.core.golden import GoldenPort
    from paritygate.replay.alone import Alone
    from paritygate.replay.bench import Bench
    from paritygate.replay.job import Asked, Job
    from paritygate.replay.looking import Looker
    from paritygate.store.golden import GoldenStore

    Emit = Callable[[str, Any], None]


def adopt_package() -> None:
    """Makes the paritygate around this file importable, and nothing that is installed beside it."""
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        "paritygate", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["paritygate"] = package
    spec.loader.exec_module(package)


def work(job: "Job", emit: "Emit", member: "Sequence[str]" = ()) -> None:
    """Replays the job; `emit(kind, value)` is called with each result as it is there.

    `member` says which of several processes this is, and where the others are found.

    With a fault planted, what is emitted is part of a `faulty`, and `replayed` comes when all of it did. Where the job
    says so, each value that is compared is kept, and emitted as `value`.
    """
    import jax

    from paritygate.core.codec import to_json
    from paritygate.core.errors import InfrastructureError
    from paritygate.core.registry import extend
    from paritygate.replay.alone import run_alone
    from paritygate.replay.inspection import inspect
    from paritygate.replay.looking import Looker
    from paritygate.replay.plant import planted
    from paritygate.store.golden import GoldenStore

    started = time.monotonic()
    counts = _count_compilations()
    if member:
        from paritygate.replay.devices import Together, join

        join(job.environment.processes, *member)
        emit = Together(emit)
    extend(job.extensions)
    x64 = bool(jax.config.read("jax_enable_x64"))
    if (x64, jax.default_backend()) != (job.environment.x64, job.environment.platform):
        raise InfrastructureError(
            "JAX did not start as asked",
            expected=f"{job.environment.platform}, x64 {job.environment.x64}",
            got=f"{jax.default_backend()}, x64 {x64}",
        )
    store = GoldenStore(Path(job.golden))
    sources: dict[str, str] = {}
    inspected: set[str] = set()

    def record() -> dict[str, Any]:
        return _about(jax, job, counts, started) | {"candidate": sources}

    def look(bench: "Bench", model: Any) -> None:
        package = type(model).__module__.partition(".")[0]
        if package not in sources:  # said before the first value of it: what a killed worker measured is known
            sources.update(_sources(package))
            emit("record", record())
        if bench.case.id not in inspected:  # its parameters are the same in every cell
            inspected.add(bench.case.id)
            emit("inspection", to_json(inspect(bench, model)))

    on_one_device: dict[tuple[str, str], Alone] = {}
    emit("record", record())
    with planted(job.patches):
        for cell in job.cells:
            run_alone(job, store, cell, on_one_device)
            _replay(
                job, store, job.suite, job.cases, cell, emit, look, lambda repeat: emit("repeat", repeat), Looker(emit),
                on_one_device,
            )  # fmt: skip
            emit("record", record())
            jax.clear_caches()  # no cell runs another's programs, and a suite's are GB of memory
        sources |= _blame_all(job, store, job.asked, lambda found: emit("blame", found))
    _plant_all(job, store, emit)
    if job.variations:
        from paritygate.replay.costs import costs

        for cost in costs(job, store):
            emit("cost", to_json(cost))
    emit("done", record())


def _plant_all(job: "Job", store: "GoldenStore", emit: "Emit") -> None:
    """Raises UsageError that names every patch that does not apply, before any fault is planted."""
    if not job.plantings:
        return
    from paritygate.core.errors import UsageError
    from paritygate.replay.plant import check, planted, planted_lines

    if bad := [f"{planting.fault}: {text}" for planting in job.plantings for text in check(planting.patches)]:
        raise UsageError("faults cannot be planted", got="\n".join(bad))
    for planting in job.plantings:
        with planted(planting.patches):
            for cell in planting.cells:
                name = planting.fault
                _replay(
                    job, store, planting.suite, (planting.case,), cell,
                    lambda kind, value, name=name: emit("faulty", {"fault": name, kind: value}),
                )  # fmt: skip
                emit("replayed", {"fault": name, "cell": str(cell)})
            if planting.asked:
                lines = [f"{Path(file).name}:{number}" for file, number in planted_lines(planting.patches)]
                _blame_all(
                    job, store, planting.asked,
                    lambda found, name=planting.fault, lines=lines: emit(
                        "blamed", {"fault": name, "blame": found, "planted": lines}
                    ),
                )  # fmt: skip


def _blame_all(
    job: "Job", store: "GoldenStore", asked: "Sequence[Asked]", say: "Callable[[Any], None]"
) -> dict[str, str]:
    """Blames lines for each drift that is asked for; what cannot be taken apart is said so. Returns what was judged."""
    if not asked:
        return {}
    from paritygate.core.codec import to_json
    from paritygate.core.errors import HarnessError
    from paritygate.replay.bench import Bench
    from paritygate.replay.blame import Models, blame, without

    models = Models()
    for each in asked:
        family, golden = job.families[each.case.family], store.read(each.suite, each.case.id)
        _ask_precision(job.policies[each.cell.dtype], each.cell)
        bench = Bench(family, each.case, golden, each.cell, job.policies[each.cell.dtype], store, routing=job.routing)
        try:
            found = blame(bench, each, job.policies[job.oracle], models)
        except HarnessError as reason:
            found = without(each, str(reason).replace("\n", "; "))
        say(to_json(found))
    return {name: digest for package in models.packages for name, digest in _sources(package).items()}


def _replay(
    job: "Job",
    store: "GoldenStore",
    suite: str,
    cases: "Sequence[Case]",
    cell: "Cell",
    emit: "Emit",
    look: "Callable[[Bench, Any], None]" = lambda bench, model: None,
    emit_repeat: "Callable[[Any], None] | None" = None,
    looker: "Looker | None" = None,
    on_one_device: "Mapping[tuple[str, str], Alone]" = MappingProxyType({}),
) -> None:
    """Replays cases in one cell; the last drift of a case is the last of all that is emitted of it.

    `look` is called with each case's candidate, before it is run, and `looker` sees its programs.
    With `emit_repeat` the first case is repeated, unless one of the cell was in an earlier part of the run, and
    where its bits differ, all are. `on_one_device` has, by case and dtype, what a value on a mesh is held against in
    low precision.
    """
    from contextlib import nullcontext
    from dataclasses import replace
    from functools import partial

    from flax import nnx

    from paritygate.core.cell import MeshLayout
    from paritygate.core.codec import canonical, to_json
    from paritygate.core.coverage import Inspection
    from paritygate.core.errors import InfrastructureError
    from paritygate.core.registry import load
    from paritygate.replay.bench import Bench
    from paritygate.replay.chained import chained
    from paritygate.replay.devices import Grid, misplaced
    from paritygate.replay.gradient import gradient
    from paritygate.replay.isolated import isolated
    from paritygate.replay.repeat import passes, repeat

    replays = {"isolated": isolated, "chained": chained, "gradient": gradient}
    policy, layout = job.policies[cell.dtype], job.layouts.get(cell.mesh, MeshLayout(cell.mesh))
    grid = Grid.of(layout) if layout.devices > 1 else None
    _ask_precision(policy, cell)
    model: Any = None
    built = ""
    first, noisy = emit_repeat is not None and str(cell) not in job.repeated, job.repeated.get(str(cell), False)
    for case in cases:
        family = job.families[case.family]
        bench = Bench(family, case, store.read(suite, case.id), cell, policy, store, routing=job.routing, grid=grid)
        if family.unfit(family.preset(case.preset), layout, bench.prompt):
            continue  # the run says why
        if grid:
            bench = replace(bench, alone=on_one_device.get((case.id, cell.dtype)))
        if job.keep:
            bench = replace(bench, kept=_keeper(Path(job.keep), case, cell, emit))
        build, weights = load(family.candidate.build), bench.weights()
        key = canonical([case.family, bench.manifest.config, bench.manifest.weights])
        try:
            if key != built:
                model, built = build(bench.manifest.config, weights, policy), key
            look(bench, model)
            on_mesh = load(family.candidate.sharded)(model, grid.mesh, layout) if grid else nullcontext()
        except InfrastructureError:
            raise
        except Exception as reason:  # the candidate's own failure is a result: `error` rows of this cell
            for mode in job.modes:
                for golden in bench.expected(mode):
                    emit("drift", to_json(bench.failed(golden, mode, reason)))
            continue
        with on_mesh:
            found = dict(misplaced(grid, nnx.state(model, nnx.Param), {})) if grid else {}
            bench = replace(bench, misplaced=found.__setitem__)
            if first or noisy:
                again = passes(bench, model, job.modes, replays)
                if first and emit_repeat is not None:
                    repeated = repeat(bench, again)
                    emit_repeat(to_json(repeated))
                    first, noisy = False, bool(repeated.differing)
                bench = replace(bench, again=again if noisy else ())
            if looker is not None and not policy.matmul:  # an emulated program is not the candidate's own
                of_site = partial(looker.site, bench) if grid else None
                bench = replace(bench, look=partial(looker.pass_, bench), look_at_site=of_site)
            drifts = (drift for mode in job.modes for drift in replays[mode](bench, model))
            last = next(drifts, None)
            for drift in drifts:
                emit("drift", to_json(last))
                last = drift
        if found:
            emit("inspection", to_json(Inspection(case.id, str(cell), (), placement=found)))
        if last is not None:
            emit("drift", to_json(last))


def _ask_precision(policy: "DtypePolicy", cell: "Cell") -> None:
    """On an accelerator, of the products that the candidate says no precision of."""
    import jax

    if cell.platform != "cpu":
        jax.config.update("jax_default_matmul_precision", policy.precision_on(cell.platform))


def _keeper(folder: Path, case: "Case", cell: "Cell", emit: "Emit") -> "Callable[[GoldenPort, Mode, np.ndarray], None]":
    """Stores a value in the folder and says of which port it is."""
    from paritygate.core.codec import to_json
    from paritygate.core.drift import Kept
    from paritygate.store.objects import ObjectStore

    objects = ObjectStore(folder)

    def keep(golden: "GoldenPort", mode: "Mode", array: "np.ndarray") -> None:
        tensor = objects.put(array)
        emit("value", to_json(Kept(case.id, str(cell), str(mode), golden.site, golden.port, golden.call, tensor)))

    return keep


def _sources(package: str) -> dict[str, str]:
    """The candidate's top-level package or module, and the sha256 of its Python files: what was judged."""
    from paritygate.replay.job import sources_hash

    return {package: sources_hash(Path(sys.modules[package].__file__ or ""))}


def _end_with_parent() -> None:
    """Asks the kernel to end this process when the one that started it is gone; elsewhere the next write ends it."""
    if sys.platform == "linux":
        import ctypes
        import signal

        parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(parent_death_signal, signal.SIGTERM)


def _count_compilations() -> dict[str, float]:
    """Counts of what XLA is asked to compile, and how much of it the persistent cache answers."""
    from jax import monitoring

    counts = {"compilations": 0, "compile_s": 0.0, "cache_hits": 0}

    def on_duration(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            counts["compilations"] += 1
            counts["compile_s"] += duration_secs

    def on_event(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            counts["cache_hits"] += 1

    monitoring.register_event_duration_secs_listener(on_duration)
    monitoring.register_event_listener(on_event)
    return counts


def _about(jax: Any, job: "Job", counts: dict[str, float], started: float) -> dict[str, Any]:
    import platform
    import resource
    from importlib.metadata import version

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "cells": [str(cell) for cell in job.cells],
        "interpreter": job.environment.interpreter,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy", "ml_dtypes")},
        "python": platform.python_version(),
        "process": jax.process_index(),
        "devices": [str(device) for device in jax.devices()],
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("JAX_", "XLA_"))},
        "compilations": int(counts["compilations"]),
        "cache_hits": int(counts["cache_hits"]),
        "compile_s": round(counts["compile_s"], 3),
        "wall_s": round(time.monotonic() - started, 3),
        "peak_memory_bytes": peak * (1 if sys.platform == "darwin" else 1024),
    }


def main(arguments: list[str]) -> int:
    """`worker.py JOB.json [NUMBER COORDINATOR]`: 0 when all was written; a HarnessError's exit code, its text last."""
    _end_with_parent()
    # What the candidate prints must not mix with the results.
    results: IO[str] = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    adopt_package()
    from paritygate.core.codec import from_json
    from paritygate.core.errors import HarnessError
    from paritygate.replay.job import Job
    from paritygate.replay.orders import OrderJob

    def emit(kind: str, value: Any) -> None:
        results.write(json.dumps({kind: value}, separators=(",", ":"), allow_nan=False) + "\n")

    job = json.loads(Path(arguments[0]).read_text())
    try:
        if "orders" in job:
            from paritygate.replay.compiling import compile_orders

            compile_orders(from_json(OrderJob, job), emit)
        else:
            work(from_json(Job, job), emit, arguments[1:])
    except HarnessError as reason:
        emit("failed", str(reason))
        return int(reason.exit_code)
    except Exception:
        if len(arguments) == 1:
            raise
        traceback.print_exc()
        os._exit(1)  # at an ordinary end JAX would wait for the other processes, one of which is lost
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
