"""Whether a service is up, on both databases."""

import subprocess
import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from harness.service.postgres import Postgres
from paritygate.service import database as database_module
from paritygate.service.database import connect, reading, writing


def test_a_new_database_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_database_of_another_revision_is_not_ready(app: FastAPI, client: TestClient) -> None:
    with writing(app.state.service.engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'other'"))
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "other")


def test_servers_that_start_at_once_make_the_tables_once(database: str) -> None:
    migrates = "import sys; from paritygate.service.database import connect, migrate; migrate(connect(sys.argv[1]))"
    command = [sys.executable, "-c", migrates, database]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 3


def test_a_connection_that_the_server_ended_is_not_used_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module._Idle, "AFTER_S", 0.0)
    engine, other = (connect(url) for url in [postgres.database()] * 2)
    with reading(engine).connect() as connection:
        number = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with reading(other).connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
    with reading(engine).connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != number
    engine.dispose()
    other.dispose()
