"""Runs that never ran, as they arrive: small ones of the synthetic rows, with digests, on a branch."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.report import synthetic
from paritygate.core.coverage import Coverage
from paritygate.core.drift import Row
from paritygate.core.project import Arrival, FileHash
from paritygate.core.run import Run
from paritygate.service.index import add_run, create_project
from paritygate.service.summaries import RunSummary
from paritygate.service.tokens import Caller

CASE, CELLS = synthetic.CASES[0], ("f64/single/cpu", "bf16/single/cpu")
_ARRIVED = count(1_800_000_000)


def rows(fault: str = "none", salt: str = "") -> list[Row]:
    """Some fifty rows, each with a digest, which `salt` changes in those of low precision."""
    return [
        replace(row, drift=replace(row.drift, digest=_digest(row, "" if row.drift.cell == CELLS[0] else salt)))
        for row in _rows(fault)
    ]


@cache
def _rows(fault: str) -> tuple[Row, ...]:
    made = as_judged(synthetic.rows(fault, layers=2, cases=[CASE], cells=CELLS))
    return tuple(row for row in made if row.drift.site in ("rope", "embed", "layers.1.attn", "norm"))


def as_judged(rows: Iterable[Row]) -> list[Row]:
    """In the order in which the judge writes them."""
    return sorted(rows, key=lambda row: (row.drift.case, row.drift.cell, row.drift.mode, row.drift.order))


def _digest(row: Row, salt: str) -> str:
    return hashlib.sha256(f"{row.drift.key}{salt}".encode()).hexdigest()[:16]


def write(folder: Path, judged: Sequence[Row] | None, coverage: Coverage | None = None, **info: Any) -> Run:
    """A run folder; one that is not judged where there are no rows."""
    folder.mkdir(parents=True)
    given = {"id": folder.name, "cases": (CASE,), "cells": CELLS, "baseline_x": 1.25, **info}
    run = Run(folder, synthetic.info(**given)).save(synthetic.info(**given))
    return run if judged is None else run.save_rows(judged, coverage=coverage, baseline_x=run.info.baseline_x)


def arrival(folder: Path, branch: str = "main", commit: str = "", arrived: float = 0.0) -> Arrival:
    files = {
        path.name: FileHash(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
    }
    commit = commit or hashlib.sha256(folder.name.encode()).hexdigest()[:40]
    return Arrival(branch, commit, "", "ada", arrived or next(_ARRIVED), 0, files)


def project(app: FastAPI, name: str = "alpha") -> str:
    """A new project."""
    return create_project(app.state.service, name, Caller("tests", frozenset({"admin"}))).name


def upload(
    app: FastAPI,
    name: str,
    judged: Sequence[Row] | None,
    branch: str = "main",
    to: str = "alpha",
    arrived: float = 0.0,
    **info: Any,
) -> RunSummary:
    """A run, written beside the service's folders and taken in."""
    service = app.state.service
    folder = service.config.data / "uploads" / "tests" / name
    write(folder, judged, **info)
    return add_run(service, to, folder, arrival(folder, branch, arrived=arrived))


def reads(client: TestClient, headers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every answer that is made of runs, with the URL that asked for it."""

    def get(url: str) -> Any:
        found = client.get(url, headers=headers)
        return found, (url, f"{found.status_code} {found.text}")

    found, said = get("/api/projects")
    yield said
    for name in (each["name"] for each in found.json()["items"]):
        base = f"/api/projects/{name}"
        listed, said = get(f"{base}/runs?limit=1000")
        yield said
        for url in ("/runs?branch=main", "/runs?verdict=fail&limit=1", "/runs?platform=cpu", "/baseline", "/approvals"):
            yield get(base + url)[1]
        names = [each["name"] for each in listed.json()["items"]]
        for run in names:
            for url in ("", "/gate", "/rows?order=share&limit=1000", "/rows?format=jsonl", "/rows?address=*attn*"):
                yield get(f"{base}/runs/{run}{url}")[1]
            yield get(f"{base}/compare?left={names[0]}&right={run}")[1]
        for address in ("layers.1.attn:inner.q_rope", "norm:out"):
            asked = f"case={CASE}&cell={CELLS[1]}&mode=chained&address={address}"
            yield get(f"{base}/history?{asked}")[1]
