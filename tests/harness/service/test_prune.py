"""Retention: what stays, what goes, and that a kill at any point of it leaves no half run."""

import os
import shutil
import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from harness.service.conftest import bearer
from harness.service.uploaded import CASE, project, rows, upload
from harness.service.working import REVISION, ByHand, make_project
from paritygate.cli.main import main
from paritygate.service import gating, prune, queries, tables
from paritygate.service.app import Service
from paritygate.service.database import writing
from paritygate.service.folders import Folders
from paritygate.service.index import catch_up
from paritygate.service.tokens import Caller

ADA = Caller("ada", frozenset({"approve", "read"}))
DAY = prune.DAY_S


def names(service: Service) -> list[str]:
    return [each.name for each in queries.runs(service, "alpha").items][::-1]


def removed(service: Service, keep_days: float, keep_last: int = 1) -> list[str]:
    return [each.run for each in prune.prune(service, "tests", keep_days, keep_last)]


@pytest.fixture
def filled(app: FastAPI) -> Service:
    """Runs of forty days, two branches; one that was accepted of, one whose line is in force, one pinned."""
    service, now = app.state.service, time.time()
    to = project(app)
    for i, name in enumerate(("plain", "superseded", "in-force", "pinned", "old-dev", "recent", "last")):
        arrived = now - (40 - i) * DAY if name not in ("recent", "last") else now - DAY
        branch = "dev" if name == "old-dev" else "main"
        upload(app, name, rows("semantic"), branch, arrived=arrived)
    glob = f"{CASE}/f64/*/chained/layers.1.attn:inner.probs"
    gating.approve(service, ADA, to, "superseded", glob, "known")
    gating.approve(service, ADA, to, "in-force", glob, "known better")
    prune.pin(service, ADA, to, "pinned", "the talk shows it")
    return service


def test_what_nothing_keeps_goes_and_all_else_stays(filled: Service) -> None:
    folders = Folders(filled.config)
    seen = list(prune.prune(filled, "tests", 30, act="dry run"))
    assert [(each.project, each.run) for each in seen] == [("alpha", "plain")]
    assert seen[0].bytes == sum(path.stat().st_size for path in folders.run("alpha", "plain").iterdir())
    assert len(names(filled)) == 7
    assert removed(filled, 30) == ["plain"]
    assert removed(filled, 30) == []
    assert names(filled) == ["superseded", "in-force", "pinned", "old-dev", "recent", "last"]
    assert not (folders.runs("alpha") / "plain").exists()
    assert list(folders.removed("alpha").iterdir()) == []
    prune.unpin(filled, ADA, "alpha", "pinned")
    assert removed(filled, 30, keep_last=5) == []
    assert removed(filled, 30) == ["pinned"]
    assert removed(filled, 0) == ["recent"]
    assert catch_up(filled) == 0
    with filled.engine.connect() as connection:
        notes = connection.execute(select(tables.audit.c.action, tables.audit.c.target, tables.audit.c.who)).all()
    assert [tuple(each) for each in notes if each.action in ("pin", "unpin", "prune")] == [
        ("pin", "pinned", "ada"), ("prune", "plain", "tests"), ("unpin", "pinned", "ada"),
        ("prune", "pinned", "tests"), ("prune", "recent", "tests"),
    ]  # fmt: skip


@pytest.mark.parametrize("at", ["rename", "rmtree"])
def test_a_kill_leaves_the_whole_run_or_nothing_of_it(
    filled: Service, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object, **more: object) -> None:
        if at == "rename" or not more:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path if at == "rename" else shutil, at, killed)
        with pytest.raises(KeyboardInterrupt):
            removed(filled, 30)
    assert "plain" not in names(filled)
    assert catch_up(filled) == (1 if at == "rename" else 0)
    assert ("plain" in names(filled)) == (at == "rename")
    assert (Folders(filled.config).runs("alpha") / "plain").exists() == (at == "rename")
    assert not Folders(filled.config).removed("alpha").exists()
    assert removed(filled, 30) == (["plain"] if at == "rename" else [])


def test_what_tasks_and_workers_leave_goes_unless_a_lease_holds(app: FastAPI, client: TestClient) -> None:
    service, old = app.state.service, time.time() - 40 * DAY
    make_project(app, "llama")
    job = {"suite": "tiny", "cells": "f64 x single x cpu", "revision": REVISION}
    hands = [ByHand(app, client, name) for name in ("gone", "holder", "idle")]
    for hand in hands[:2]:
        client.post("/api/projects/llama/jobs", json=job, headers=bearer(app, "submit", name=f"for-{hand.name}"))
        assert hand.lease()
        hand.put("lint.json", b"{}")
        assert hand.ask("/finish", {"exit_code": 0, "files": {}}).status_code == 412, "which leaves a lock"
    assert hands[2].lease() is None
    assert hands[0].ask("/fail", {"reason": "no golden"}).status_code == 204
    with writing(service.engine).begin() as connection:
        silent = tables.worker.c.name.in_(("gone", "holder"))
        connection.execute(update(tables.worker).where(silent).values(seen=old))
    kept = service.config.data / "tasks"
    (kept / "strange").touch()
    for path in kept.iterdir():
        os.utime(path, (old, old))

    def left(keep_days: float) -> tuple[list[str], list[str]]:
        assert removed(service, keep_days) == []
        with service.engine.connect() as connection:
            named = connection.execute(select(tables.worker.c.name).order_by(tables.worker.c.name)).scalars().all()
        return sorted(path.name for path in kept.iterdir()), list(named)

    assert left(50) == ([".1.lock", ".2.lock", "1", "2", "strange"], ["gone", "holder", "idle"])
    assert left(30) == ([".2.lock", "2", "strange"], ["holder", "idle"])
    assert left(0) == ([".2.lock", "2", "strange"], ["holder", "idle"])
    assert hands[1].ask("/fail", {"reason": "no golden"}).status_code == 204
    assert left(30) == (["strange"], ["idle"])


def test_pins_over_http(app: FastAPI, client: TestClient) -> None:
    project(app)
    upload(app, "run", rows()[:1])
    url, reader, approver = "/api/projects/alpha/runs/run/pin", bearer(app, "read"), bearer(app, "approve", name="ada")
    assert client.put(url, headers=reader, json={"reason": "shown"}).status_code == 403
    assert client.put(url, headers=approver, json={"reason": " "}).json()["error"]["what"] == "a pin needs a reason"
    assert client.put(url, headers=approver, json={"reason": "shown"}).json()["pinned"] is True
    file = client.get("/api/projects/alpha/runs/run/files/pin.json", headers=reader)
    assert (file.json()["by"], file.json()["reason"]) == ("ada", "shown")
    assert client.delete(url, headers=approver).json()["pinned"] is False
    assert client.get("/api/projects/alpha/runs/run/files/pin.json", headers=reader).status_code == 404


def test_the_verb(app: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    config = app.state.service.config
    project(app)
    upload(app, "old", rows()[:1], arrived=1_700_000_000)
    upload(app, "new", rows()[:1])
    environ = {"PARITYGATE_DB": config.database, "PARITYGATE_RUNS": str(config.runs)}

    def said(*arguments: str, code: int = 0) -> list[str]:
        capsys.readouterr()
        assert main(["db", *arguments, "--data", str(config.data)], environ) == code
        streams = capsys.readouterr()
        return (streams.out + streams.err).splitlines()

    assert said("status")[1:] == ["alpha: 2 runs", "next    paritygate serve"]
    assert said("migrate")[1:] == ["alpha: 2 runs", "next    paritygate serve"]
    assert said("rebuild") == [
        "the index is empty; reading all run folders", "alpha: 2 runs", "2 runs in the index",
        "next    paritygate serve",
    ]  # fmt: skip
    first, total, following = said("prune", "--keep-days", "30", "--dry-run")
    assert first.startswith("would remove alpha/old  0.0 MB")
    assert (total, following) == ("1 run, 0.0 MB would be freed", "next    the same command without --dry-run")
    assert said("prune", "--keep-days", "30")[-2:] == ["1 run, 0.0 MB freed", "next    paritygate db status"]
    assert said("status")[1:] == ["alpha: 1 run", "next    paritygate serve"]
    assert said("prune", code=2)[0] == "prune needs to know what is old: db prune"
    assert said("status", "--dry-run", code=2)[0].startswith("only prune removes runs")
