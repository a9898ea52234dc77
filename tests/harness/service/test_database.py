"""The database when things go wrong: the power fails, another holds it for long, it is away, or it says nothing."""

import asyncio
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoneFree

from harness.service.conftest import bearer
from paritygate.cli.main import main
from paritygate.service.api.events import Stream
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.database import away, connect


def test_what_was_changed_is_on_the_disk(app: FastAPI) -> None:
    """Less would lose the last changes when the power fails: a token that was revoked, for one."""
    with app.state.service.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            asked, full = ("PRAGMA synchronous", "PRAGMA journal_mode"), [2, "wal"]
        else:
            asked, full = ("SHOW synchronous_commit",), ["on"]
        assert [connection.exec_driver_sql(each).scalar_one() for each in asked] == full


@pytest.fixture
def sqlite(tmp_path: Path) -> ServiceConfig:
    return ServiceConfig.beside(tmp_path / "data", tmp_path / "runs", tmp_path / "golden", hosts=("testserver",))


@contextmanager
def serving(config: ServiceConfig, database: str) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A service that has started, and whose database then is another one; who asks is known by the first."""
    app = create_app(config)
    headers = bearer(app, "admin")
    kept, app.state.service = app.state.service.engine, replace(app.state.service, engine=connect(database))
    with TestClient(app) as client:
        yield client, headers
    kept.dispose()


async def read(stream: Stream) -> list[Any]:
    return [text async for text in stream.body_iterator]


def test_a_database_that_another_holds_is_told_as_one(
    sqlite: ServiceConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paritygate.service.database._PRAGMAS", ("journal_mode=WAL", "busy_timeout=0"))
    with serving(sqlite, sqlite.database) as (client, headers):
        other = sqlite3.connect(sqlite.data / "service.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/api/projects", json={"name": "llama"}, headers=headers)
        other.close()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    said = answer.json()["error"]
    assert (said["what"], said["got"]) == ("the database does not answer now", "another process holds it")
    assert "POST '/api/projects': 'database is locked'" in caplog.text


def test_a_disk_that_is_full_is_told_as_one(sqlite: ServiceConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sqlite, sqlite.database) as (client, headers):
        monkeypatch.setattr("paritygate.service.database._PRAGMAS", ("max_page_count=1",))  # no more than it has
        answers = [client.post("/api/projects", json={"name": f"p{i:02d}" * 20}, headers=headers) for i in range(40)]
    assert answers[-1].status_code == 507
    assert answers[-1].json()["error"]["what"] == "no room left for the database"


def test_a_fault_of_ours_is_none_of_the_database(sqlite: ServiceConfig, tmp_path: Path) -> None:
    with serving(sqlite, f"sqlite:///{tmp_path / 'empty.db'}") as (client, headers):
        assert client.get("/api/projects", headers=headers).status_code == 500, "there is no such table"


def test_a_database_that_is_away_is_told_on_pages_too(sqlite: ServiceConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(sqlite, f"postgresql+psycopg://somebody:secret@127.0.0.1:{port}/x") as (client, headers):
        answers = [client.get(path, headers=headers) for path in ("/api/projects", "/projects", "/projects.json")]
        ready, app = client.get("/readyz"), client.app
        assert isinstance(app, FastAPI)
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "the database does not answer now" in answer.text
        assert not {"somebody", "secret", str(port), "psycopg"} & set(re.split(r"\W+", answer.text))
        named = [(b"authorization", headers["Authorization"].encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": named}
        stream = Stream(Request(scope | {"app": app, "path_params": {}}), app.state.service, "admin", "x", 0, None)
        assert asyncio.run(read(stream)) == ["retry: 2000\n\n"], "its reader comes back, and is told then"
    assert answers[1].headers["content-type"].startswith("text/html")
    assert (ready.status_code, ready.json()["reason"]) == (503, "OperationalError")


def test_a_database_that_says_nothing_is_not_ready(sqlite: ServiceConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and is silent: whoever asks is told so in time, and its one thread is all that waits."""
    monkeypatch.setattr("paritygate.service.api.health.WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://x@127.0.0.1:{silent.getsockname()[1]}/x"
        with serving(sqlite, url) as (client, _):
            answers = [client.get("/readyz") for _ in range(3)]
            waiting = [thread for thread in threading.enumerate() if thread.name == "readyz"]
            assert client.get("/healthz").status_code == 200
    assert [(each.status_code, each.json()["reason"]) for each in answers] == [(503, "no answer in 0.1 s")] * 3
    assert len(waiting) == 1
    waiting[0].join()


def test_the_verbs_say_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {"PARITYGATE_DB": f"postgresql+psycopg://somebody:secret@127.0.0.1:{port}/x"}
    assert main(["db", "status", "--data", str(tmp_path)], environ) == 4
    said = capsys.readouterr().err
    assert said.startswith("the database does not answer now: PARITYGATE_DB\n  got       connection failed")
    assert "secret" not in said


def test_what_passes_by_itself_is_told_from_a_fault_of_ours() -> None:
    """All connections in use passes, and so does one that broke; a statement that is wrong does not."""
    found = away(NoneFree("QueuePool limit reached"))
    assert found is not None and (found.status, found.got) == (503, "all connections are in use")
    assert away(DBAPIError("SELECT 1", None, Exception(), connection_invalidated=True)) is not None
    assert away(ProgrammingError("SELEC", None, Exception())) is None
