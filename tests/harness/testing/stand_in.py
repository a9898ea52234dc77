"""A replay without JAX, for tests of what the plugin makes of one: the goldens' own values, rounded to a cell's dtype.

`STAND_IN` in the environment names what is wrong with it; each call adds a line to the file `STAND_IN_LOG`.
"""

import os
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from paritygate.catalog.select import policies
from paritygate.core.cell import Cell, Mode
from paritygate.core.codec import canonical
from paritygate.core.coverage import Inspection
from paritygate.core.drift import Drift
from paritygate.core.family import Case
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.run import Run, RunInfo
from paritygate.metrics.measure import measure
from paritygate.store.golden import GoldenStore

MODULES = ("", "embed", "layers.0", "layers.0.norm", "layers.1", "layers.1.norm", "head")
PROGRAMS = 7


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def value_of(store: GoldenStore, port: GoldenPort, cell: Cell, fault: str) -> np.ndarray:
    policy = policies()[cell.dtype]
    value = store.tensor(port.tensor).astype(dtype_of(port.dtypes.get(cell.dtype) or policy.compute))
    wrong = {"doubled": True, "coarse": cell.dtype != "f64"}.get(fault, False)
    return value * 2 if wrong and port.address == "head:out" else value


def drift(store: GoldenStore, case: Case, port: GoldenPort, cell: Cell, mode: Mode, fault: str) -> Drift:
    value = value_of(store, port, cell, fault)
    found = measure(store.tensor(port.tensor), value, kind=port.kind, role=port.role, layout=port.layout, real=None)
    return Drift(
        case.id, str(cell), str(mode), port.site, port.port, port.call, port.order, str(port.kind), port.layout,
        value.shape, value.dtype.name, found.metrics, found.scale, histogram=found.histogram,
    )  # fmt: skip


def inspection(golden: Golden, cell: Cell) -> Inspection:
    return Inspection(golden.case.id, str(cell), MODULES, golden.weights)


def replay(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    runs: Path,
    command: tuple[str, ...],
    **options: Any,
) -> Run:
    (cell,), fault = cells, os.environ.get("STAND_IN", "")
    with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
        print(cell, *(case.id for case in cases), *modes, file=log, flush=True)
    folder = runs / f"part-{os.getpid()}"
    (folder / "workers").mkdir(parents=True)
    (folder / "workers" / "0.log").write_text("said\n")
    record = {"cells": [str(cell)], "compilations": PROGRAMS, "cache_hits": 2, "compile_s": 0.5}
    info = RunInfo(
        folder.name, suite, tuple(case.id for case in cases), (str(cell),), tuple(map(str, modes)), "20260101T000000Z",
        command, {case.id: store.manifest_hash(suite, case.id) for case in cases}, {"paritygate": "0"},
        workers=(record,), wall_s=1.0, compilations=PROGRAMS, peak_memory_bytes=2**20,
        problems=("the run did not finish",),
    )  # fmt: skip
    run = Run(folder, info).save(info)
    time.sleep(float(os.environ.get("STAND_IN_S", "0")))
    if fault == "crash" and not (mark := Path(os.environ["STAND_IN_LOG"]).with_name("crashed")).exists():
        mark.touch()
        os._exit(9)
    goldens = [store.read(suite, case.id) for case in cases]
    drifts = [
        drift(store, golden.case, port, cell, mode, fault)
        for golden in goldens
        for port in golden.ports
        for mode in modes
        if mode in port.modes and not port.is_input and fault != "killed"
    ]
    (folder / "drifts.jsonl").write_text("".join(canonical(each) + "\n" for each in drifts))
    seen = [] if fault == "unseen" else [inspection(golden, cell) for golden in goldens]
    (folder / "inspections.jsonl").write_text("".join(canonical(each) + "\n" for each in seen))
    problems = (f"worker for {cell} was killed by signal 9: no output (see 0.log)",) if fault == "killed" else ()
    from dataclasses import replace

    return run.save(replace(info, problems=problems))
