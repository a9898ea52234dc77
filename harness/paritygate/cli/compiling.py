"""Runs of the suite `full`: passes compiled in workers, into a run folder, and judged from it.

Writes `run.json`, `compilations.jsonl` and `programs.jsonl`, each line as it comes, and `workers/`.
"""

import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, TextIO

from paritygate.cli.verb import Settings
from paritygate.core.codec import canonical
from paritygate.core.compilation import Compilation, Order
from paritygate.core.drift import Row
from paritygate.core.errors import NothingComparedError, UsageError
from paritygate.core.program import Program
from paritygate.core.run import Run, RunInfo, Skip

if TYPE_CHECKING:
    from paritygate.cli.sharing import Shared


def compile_run(settings: Settings, text: str, cells: str, workers: int | None, timeout_s: float) -> Run:
    """Compiles the passes that are asked for; without `cells`, those that are recorded.

    A pass whose compiler is not installed is skipped, with what to install as the reason. One at a time by default,
    since a compiler uses every core.
    """
    from paritygate.catalog.full import FULL, select_orders
    from paritygate.cli.progress import progress
    from paritygate.judge.compilations import COMPILED
    from paritygate.judge.roofline import timed
    from paritygate.replay.orders import compile_all
    from paritygate.store.programs import read_programs

    recorded = [(each.name, each.cell) for each in read_programs(settings.golden / "programs", FULL)]
    orders = select_orders(text, cells, recorded)
    if not orders:
        raise NothingComparedError(
            "nothing to compile",
            where=text,
            expected="cells that a size is for, or programs that are recorded",
            try_="paritygate list cases full",
        )
    lacking = list(map(_lacking, orders))
    started = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
    info = RunInfo(
        id=f"{stamp}-{FULL}-{secrets.token_hex(2)}",
        suite=FULL,
        cases=tuple(dict.fromkeys(order.name for order in orders)),
        cells=tuple(dict.fromkeys(order.cell for order in orders)),
        modes=(COMPILED,),
        started=stamp,
        command=settings.command,
        goldens={},
        versions={"paritygate": version("paritygate"), "python": sys.version.split()[0]},
        skipped=tuple(Skip(order.cell, why, order.name) for order, why in zip(orders, lacking, strict=True) if why),
    )
    folder = settings.runs / info.id
    (folder / "workers").mkdir(parents=True)
    run = Run(folder, info).save(replace(info, problems=("the run did not finish",)))
    asked = [order for order, why in zip(orders, lacking, strict=True) if not why]
    with progress(settings) as shown, (folder / "compilations.jsonl").open("w") as lines:
        found = compile_all(
            asked,
            folder,
            lambda each: _write(lines, timed(each)),
            extensions=settings.extensions,
            workers=workers or 1,
            timeout_s=timeout_s,
            progress=shown,
        )
        lost = [each for each in found if each.outcome == "lost"]
        for each in lost:
            _write(lines, each)
    with (folder / "programs.jsonl").open("w") as lines:
        for each in found:
            if each.compiled is not None:
                _write(lines, each.compiled.program)
    return run.save(
        replace(
            info,
            wall_s=round(time.time() - started, 3),
            compilations=len(found) - len(lost),
            problems=tuple(each.reason for each in lost),
        )
    )


def _lacking(order: Order) -> str:
    """Why it cannot be compiled; what an environment of the candidate's own has, its worker says."""
    from paritygate.catalog.select import families
    from paritygate.replay.orders import without_compiler

    return "" if families()[order.family].candidate.interpreter else without_compiler(order.target)


def _write(lines: TextIO, what: object) -> None:
    lines.write(canonical(what) + "\n")
    lines.flush()


def judge_compiled(settings: Settings, run: Run) -> tuple[Run, list[Row]]:
    """Judges what was compiled on what is recorded, and writes it as `judge_run` does."""
    from paritygate.judge.compilations import changes_of, rows_of

    found = list(run.compilations())
    changes = changes_of(found, recorded_of(settings, found))
    rows = rows_of(found, changes, run.info.skipped)
    return run.save_rows(rows, programs=changes), rows


def recorded_of(settings: Settings, found: Sequence[Compilation]) -> list[Program]:
    """What golden/programs has of the same passes and cells."""
    from paritygate.catalog.full import FULL
    from paritygate.store.programs import read_programs

    asked = {(each.order.name, each.cell) for each in found}
    return [each for each in read_programs(settings.golden / "programs", FULL) if (each.name, each.cell) in asked]


def refuse_other_options(mode: str, routing: str, shared: "Shared", fault: str) -> None:
    """Raises UsageError on options that say how a golden is replayed."""
    options = (
        ("--mode", mode, "all"),
        ("--routing", routing, "own"),
        ("--processes", str(shared.processes), "1"),
        ("--executor", "ray" if shared.executor else "local", "local"),
        ("--fault", fault, ""),
    )
    for name, given, default in options:
        if given != default:
            raise UsageError(
                "full sizes are compiled, and not replayed",
                where=f"{name} {given}",
                try_="a case of one pass: paritygate run 'scout.prefill*' --suite full",
            )
