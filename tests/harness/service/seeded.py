"""Runs that never ran, in the folders of a service: a project whose `main` has a row that gets worse, and better."""

import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from harness.report import synthetic
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.core.run import Run
from paritygate.report.render import write_report
from paritygate.service.app import Service
from paritygate.service.folders import FileHash, Folders, Origin
from paritygate.service.index import add_run
from paritygate.service.summaries import RunSummary

CASE, CELLS, MOVED = "tiny-scout.long", ("f64/single/cpu", "bf16/single/cpu"), ("layers.1.moe", "out")
ADDRESS = "layers.1.moe:out"


def rows(fault: str = "none", moved_x: float = 1.0) -> list[Row]:
    """Of one case in two cells; `moved_x` is what the drift of ADDRESS in bf16, chained, is multiplied by."""
    made = synthetic.rows(fault, layers=2, cases=(CASE,), cells=CELLS)
    return [_moved(row, moved_x) if _is_moved(row) else row for row in made]


def _is_moved(row: Row) -> bool:
    drift = row.drift
    return (drift.site, drift.port) == MOVED and drift.cell == CELLS[1] and drift.mode == "chained"


def _moved(row: Row, by: float) -> Row:
    judged = tuple(
        replace(each, value=each.value * by, ratio=each.ratio * by, ok=each.ratio * by <= each.limit)
        for each in row.judgements
    )
    if all(each.ok for each in judged):
        return replace(row, judgements=judged)
    return replace(row, verdict=Verdict.OVER_BUDGET, diagnosis=Diagnosis.PRECISION, judgements=judged)


def write_run(folder: Path, made: list[Row], report: str = "", **changes: object) -> Path:
    """A judged run folder; `report` is its page, or `drawn` for the one that it has."""
    folder.mkdir(parents=True)
    info = synthetic.info(**{"id": folder.name, "cases": (CASE,), "cells": CELLS, **changes})
    Run(folder, info).save(info).save_rows(made)
    if report == "drawn":
        write_report(folder)
    elif report:
        (folder / "report.html").write_text(report)
    return folder


def upload(
    service: Service, project: str, folder: Path, at: float, branch: str = "main", commit: str = "", by: str = "ci"
) -> RunSummary:
    """What an upload ends with."""
    files = {path.name: FileHash(path.stat().st_size, sha256(path.read_bytes()).hexdigest()) for path in folder.iterdir()}
    named = commit or sha256(folder.name.encode()).hexdigest()[:40]
    return add_run(service, project, folder, Origin(branch, named, "", by, at, 0, files))


def history(service: Service, project: str, at: Path, runs: int = 16) -> Iterator[RunSummary]:
    """A project with runs of `main`: one row gets worse at the fifth, over budget at the tenth, better at the 13th."""
    Folders(service.config).create(project)
    began = time.time() - runs * 5 * 3600
    for i in range(1, runs + 1):
        moved_x = 0.5 if i < 5 else 0.9 if i < 10 else 3.1 if i < 13 else 0.7
        made = rows("semantic" if i == 8 else "none", moved_x)
        name = f"202611{i:02d}-030405-tiny"
        folder = write_run(at / name, made, "drawn" if i in (8, runs) else "")
        yield upload(service, project, folder, began + i * 5 * 3600, "rope-halves" if i == 8 else "main")
