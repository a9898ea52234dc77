"""The project `local`: what runs on this machine, looked at where it lies, and only looked at."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.service.conftest import bearer
from harness.service.uploaded import project, reads, rows, upload, write
from paritygate.service import local, queries
from paritygate.service.app import Service, create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.database import connect
from paritygate.service.folders import Folders
from paritygate.service.index import rebuild
from paritygate.service.problems import NotFound, Refused
from paritygate.service.tokens import Caller

READER = Caller("ada", frozenset({"read"}))


@pytest.fixture
def config(config: ServiceConfig) -> ServiceConfig:
    return replace(config, unnamed="loopback")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read looks."""
    monkeypatch.setattr(local, "EVERY_S", 0.0)


def listed(app: FastAPI) -> list[tuple[int, str, str]]:
    return [(each.number, each.name, each.verdict) for each in queries.runs(app.state.service, "local").items][::-1]


def test_runs_appear_as_they_end_change_as_they_are_judged_and_go(app: FastAPI, config: ServiceConfig) -> None:
    assert listed(app) == []
    first = write(config.runs / "first", None, started="2026-01-02T03:04:05Z")
    write(config.runs / "third", rows("semantic"), started="2026-01-03T03:04:05Z")
    assert listed(app) == [(1, "first", "unjudged"), (2, "third", "fail")]
    first.save_rows(rows())
    write(config.runs / "second", rows(), started="2026-01-02T09:00:00Z")
    assert listed(app) == [(1, "first", "pass"), (2, "second", "pass"), (3, "third", "fail")]
    before = sorted((path, path.stat().st_mtime_ns) for path in config.runs.rglob("*"))
    (config.runs / "second" / "rows.jsonl").write_text("{}\n")
    assert listed(app) == [(1, "first", "pass"), (2, "third", "fail"), (3, "second", "unreadable")]
    shutil.rmtree(config.runs / "second")
    assert listed(app) == [(1, "first", "pass"), (2, "third", "fail")]
    gone = [each for each in before if "second" not in str(each[0])][1:]
    assert [each for each in gone if each[0].exists() and each[0].stat().st_mtime_ns != each[1]] == []


def test_nothing_is_read_again_where_nothing_changed(
    app: FastAPI, config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config.runs / "run", rows())
    assert local.scan(app.state.service) == 1
    monkeypatch.setattr(local, "readable_or_why", lambda *given: pytest.fail("read again"))
    assert local.scan(app.state.service) == 0
    looks: list[int] = []
    monkeypatch.setattr(local, "EVERY_S", 1e6)
    monkeypatch.setattr(local, "scan", lambda service: looks.append(1))
    app.state.service.looked.at = -1e7
    for _ in range(3):
        queries.runs(app.state.service, "local")
    assert looks == [1]


def test_an_index_made_again_gives_the_same_answers(app: FastAPI, config: ServiceConfig) -> None:
    for name in ("b", "a", "c"):
        write(config.runs / name, rows("none", name), started="2026-01-02T03:04:05Z" if name != "c" else "no time")
        os.utime(config.runs / name / "run.json", (1_700_000_000, 1_700_000_000))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        before = list(reads(client, {}))
        assert len(before) > 20
        rebuild(app.state.service)
        assert list(reads(client, {})) == before


def test_it_takes_neither_uploads_nor_approvals_nor_pins(app: FastAPI, config: ServiceConfig, tmp_path: Path) -> None:
    write(config.runs / "run", rows("semantic"))
    with pytest.raises(NotFound, match="no such project: 'local'"):
        upload(app, "other", rows(), to="local")
    headers = bearer(app, "admin")
    with TestClient(app) as client:
        base = "/api/projects/local/runs/run"
        asked = {"select": "*", "reason": "known"}
        answer = client.post(f"{base}/approve", headers=headers, json=asked)
        assert (answer.status_code, answer.json()["error"]["try"]) == (
            422, "paritygate approve run --select '*' --reason 'known', on this machine",
        )  # fmt: skip
        answer = client.put(f"{base}/pin", headers=headers, json={"reason": "known"})
        assert (answer.status_code, answer.json()["error"]["what"]) == (422, "local runs are never pruned")
        assert client.post("/api/projects", headers=headers, json={"name": "local"}).status_code == 422
    assert sorted(path.name for path in (config.runs / "run").iterdir()) == [
        "coverage.json", "lint.json", "programs.json", "rows.jsonl", "run.json",
    ]  # fmt: skip


def test_there_is_none_where_others_may_come(app: FastAPI, config: ServiceConfig) -> None:
    write(config.runs / "run", rows())
    project(app)
    service = app.state.service
    assert [each.name for each in queries.projects(service, READER).items] == ["alpha", "local"]
    other = create_app(replace(config, unnamed="nobody"))
    assert [each.name for each in queries.projects(other.state.service, READER).items] == ["alpha"]
    with pytest.raises(NotFound, match="no such project"):
        queries.runs(other.state.service, "local")
    with pytest.raises(NotFound, match="no such project"):
        Folders(other.state.service.config).runs("local")
    other.state.service.engine.dispose()


def test_a_name_is_checked_before_it_is_a_path(app: FastAPI) -> None:
    folders = Folders(app.state.service.config)
    for name in ("", ".", "..", "a/b", "A", "local", "x" * 65, "a\0b", "é"):
        with pytest.raises(Refused):
            folders.create(name)
        with pytest.raises(NotFound):
            folders.project(name)
    project(app)
    for name in ("", "..", "../x", ".x", "a/b", "latest", "x" * 129, "a\n", "x.json"):
        with pytest.raises(Refused):
            folders.run("alpha", name)
    for name in ("", "..", "../project.json", "workers", "other.json"):
        with pytest.raises(NotFound):
            upload(app, "run", rows()[:1])
            folders.file("alpha", "run", name)


def test_two_servers_that_see_a_run_at_once_take_it_in_once(
    app: FastAPI, config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config.runs / "run", rows())
    both, print_of, indexed = Barrier(2), local._print, local._index
    looks, taken = iter((both.wait, both.wait)), list[str]()

    def seen(folder: Path) -> str:
        next(looks, lambda: 0)()
        return print_of(folder)

    def index(service: Service, project_id: int, folder: Path, print: str) -> None:
        taken.append(folder.name)
        indexed(service, project_id, folder, print)

    monkeypatch.setattr(local, "_print", seen)
    monkeypatch.setattr(local, "_index", index)
    other = Service(config, connect(config.database))
    with ThreadPoolExecutor(2) as pool:
        changed = sorted(pool.map(local.scan, (app.state.service, other)))
    other.engine.dispose()
    assert (changed, taken) == ([0, 1], ["run"])
