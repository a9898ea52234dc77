"""The end of a session: its parts made into one judged run with a report, and what the terminal says of it.

Reads `parts/` of the run's folder and what the items reported; writes the run, and removes the parts.
"""

import shlex
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from paritygate.cli.stages import gate_run, judge_run, report_data, report_run, shown
from paritygate.core.errors import ExitCode, HarnessError
from paritygate.core.run import Run, RunInfo, Skip, why_skipped
from paritygate.replay.results import UNFINISHED
from paritygate.testing.asked import ParityCase
from paritygate.testing.parts import merge, move_workers, process_of, replays
from paritygate.testing.session import ParitySession
from paritygate.testing.told import Told


@dataclass(frozen=True)
class Replayed:
    """What the replay of one cell compiled, which process of pytest made it, and which asked for it."""

    cell: str
    by: str
    asked_by: tuple[str, ...]
    programs: int
    from_cache: int
    compile_s: float
    wall_s: float

    @property
    def text(self) -> str:
        asked = f", asked for by {', '.join(self.asked_by)}" if self.asked_by != (self.by,) else ""
        cache = f" ({self.from_cache:,} from the compile cache)" if self.from_cache else ""
        compiled = f"{self.programs:,} programs{cache}, {self.compile_s:.1f} s of {self.wall_s:.1f} s"
        return f"compiled  {self.cell}  in {self.by}{asked}: {compiled}"


@dataclass(frozen=True)
class Ending:
    """The run that was written, if any, and what is said below the tests.

    `code` is what a session ends with in which no test failed: OK only where the `gate` passes, or where tests were
    marked to fail.
    """

    gate: ExitCode
    run: Run | None = None
    report: Path | None = None
    replayed: tuple[Replayed, ...] = ()
    expected_to_fail: bool = False
    problem: str = ""

    @property
    def code(self) -> pytest.ExitCode:
        if self.gate is ExitCode.PASS or (self.gate is ExitCode.DRIFT and self.expected_to_fail):
            return pytest.ExitCode.OK
        nothing = self.gate is ExitCode.NOTHING_COMPARED
        return pytest.ExitCode.NO_TESTS_COLLECTED if nothing else pytest.ExitCode.TESTS_FAILED

    def text(self, terminal: pytest.TerminalReporter) -> str:
        lines: list[str] = []
        if self.run is not None:
            lines += banner(self.run, terminal.hasmarkup)
        lines += [each.text for each in self.replayed]
        if self.run is not None and self.report is not None:
            lines += [f"report  {shown(self.report)}", f"next    {_next(self.gate, self.run, self.report)}"]
        return "\n".join([*lines, *self.problem.splitlines()])


def _next(gate: ExitCode, run: Run, report: Path) -> str:
    if gate is ExitCode.PASS:
        return f"open {shown(report)}"
    return f"paritygate locate {shlex.quote(shown(run.folder))}" if gate is ExitCode.DRIFT else "paritygate doctor"


def banner(run: Run, color: bool) -> list[str]:
    """The verdict, as `paritygate run` says it, without the tables below it."""
    from paritygate.report.assemble import assemble
    from paritygate.report.data import ReportData
    from paritygate.report.parts import Banner
    from paritygate.report.text import render_parts

    ((_, parts),) = assemble(ReportData.of(run), ["verdict"])
    return render_parts([part for part in parts if isinstance(part, Banner)], color=color)


def end(session: ParitySession, asked: Collection[str], told: Told) -> Ending:
    """Writes the run."""
    try:
        return _end(session, asked, told)
    except (HarnessError, OSError) as reason:
        kept = f"  what was replayed is in {shown(session.folder / 'parts')}"
        return Ending(ExitCode.INFRASTRUCTURE, problem=f"no run was written: {reason}\n{kept}")


def _end(session: ParitySession, asked: Collection[str], told: Told) -> Ending:
    session.select(case for case in session.cases if str(case) in asked or str(case) in told.items)
    parts, spare = _parts(session.folder / "parts")
    info = _whole(session, parts, told)
    if not info["cases"]:
        return Ending(ExitCode.GOLDEN, problem="no run was written, for there is no whole golden")
    run = merge(session.folder, parts, **info) if parts else _nothing(session, info)
    run, rows = judge_run(session.settings, run)
    report = report_run(run, report_data(session.settings, run))
    replayed = tuple(_replayed(part, told) for part in [*parts, *spare])
    move_workers([*parts, *spare], run.folder)
    shutil.rmtree(session.folder / "parts", ignore_errors=True)
    return Ending(gate_run(run, rows), run, report, replayed, told.expected_to_fail)


def _parts(folder: Path) -> tuple[list[Run], list[Run]]:
    """Of each cell the replay that counts, the one that reached its end; and those of processes that were killed."""
    parts: list[Run] = []
    spare: list[Run] = []
    for of_cell in sorted(path for path in folder.glob("*") if path.is_dir()):
        found = sorted(replays(of_cell), key=lambda run: UNFINISHED in run.info.problems)
        parts += found[:1]
        spare += found[1:]
    return parts, spare


def _whole(session: ParitySession, parts: list[Run], told: Told) -> dict[str, object]:
    """The run's info as it is of the whole session: what was left out of it, and why; what is unknown is a problem."""
    order = list(dict.fromkeys(str(case.cell) for case in session.cases))
    parts.sort(key=lambda part: min(order.index(cell) for cell in part.info.cells))
    of_pair: dict[tuple[str, str], list[ParityCase]] = {}
    for case in session.selected:
        of_pair.setdefault((case.case.id, str(case.cell)), []).append(case)
    replayed = {(case, cell) for part in parts for case in part.info.cases for cell in part.info.cells}
    problems = [problem for part in parts for problem in part.info.problems]
    refused = {case.case.id: str(reason) for case in session.selected if (reason := session.refused(case.case))}
    problems += [reason.replace("\n", "; ") for reason in refused.values()]
    skips: dict[tuple[str, str], str] = {}
    for pair, cases in of_pair.items():
        if pair in replayed or pair[0] in refused:
            continue
        reasons = {_why(told, case) for case in cases}
        if "" not in reasons:
            skips[pair] = " and ".join(sorted(reasons))
        else:
            why = "its tests say why" if any(map(told.items.get, map(str, cases))) else "the session ended before it"
            problems.append(f"{pair[0]} was not replayed in {pair[1]}: {why}")
    cases = [case for case in dict.fromkeys(pair[0] for pair in of_pair) if case not in refused]
    cells = [cell for cell in order if any(pair[1] == cell for pair in of_pair)]
    skipped = [skip for part in parts for skip in part.info.skipped]
    skipped += [Skip(cell, reason, case) for (case, cell), reason in skips.items()]
    for case in cases:
        for cell in cells:
            if (case, cell) not in of_pair and not why_skipped(skipped, case, cell):
                skipped.append(Skip(cell, "not selected in this session", case))
    modes = tuple(map(str, session.modes))
    goldens = {case: session.store.manifest_hash(session.suite, case) for case in cases}
    info: dict[str, object] = {"cases": tuple(cases), "cells": tuple(cells), "modes": modes, "goldens": goldens}
    return info | {"skipped": tuple(skipped), "problems": tuple(problems)}


def _why(told: Told, case: ParityCase) -> str:
    """Why a case was skipped, by us or by a mark of the test's; empty where it was not."""
    item = told.items.get(str(case))
    if item is None:
        return ""
    return item.skipped or ("the test is marked to be skipped" if "skipped" in item.outcomes else "")


def _nothing(session: ParitySession, info: dict[str, object]) -> Run:
    """A run in which every cell was skipped."""
    from paritygate.replay.launch import versions

    folder, started, command = session.folder, session.started[0], session.settings.command
    folder.mkdir(parents=True)
    empty = RunInfo(folder.name, session.suite, (), (), (), started, command, {}, versions())
    return Run(folder, empty).save(replace(empty, **info))


def _replayed(part: Run, told: Told) -> Replayed:
    cells, records = part.info.cells, part.info.workers
    items = (item for name, item in told.items.items() if any(f"/{cell}/" in name for cell in cells))
    return Replayed(
        ", ".join(cells),
        process_of(part),
        tuple(sorted({worker for item in items for worker in item.workers})),
        part.info.compilations,
        sum(int(record["cache_hits"]) for record in records),
        sum(float(record["compile_s"]) for record in records),
        part.info.wall_s,
    )
