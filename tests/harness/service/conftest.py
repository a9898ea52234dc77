"""A service in a temporary folder, on SQLite and on a real PostgreSQL: what holds for one holds for the other."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.service import postgres as servers
from harness.service import seeded
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.tokens import Scope, create


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """One server for all tests of this process. Without PostgreSQL they skip, but in CI they fail."""
    binaries = servers.programs()
    if binaries is None:
        message = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with servers.running(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def config(database: str, tmp_path: Path) -> ServiceConfig:
    hosts = ("testserver",)  # by which the test client asks
    return ServiceConfig(tmp_path / "data", database, tmp_path / "runs", tmp_path / "golden", hosts=hosts)


@pytest.fixture
def app(config: ServiceConfig) -> Iterator[FastAPI]:
    app = create_app(config)
    yield app
    app.state.service.engine.dispose()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Nobody in particular: give `headers=bearer(app, "read")`."""
    with TestClient(app) as client:
        yield client


def bearer(app: FastAPI, *scopes: Scope, name: str = "", project: str = "") -> dict[str, str]:
    """The header of a new token with these scopes."""
    name = name or "-".join([*scopes, project])
    return {"Authorization": f"Bearer {create(app.state.service.engine, name, scopes, 'tests', project)}"}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service with a project that has a history, one of hostile names, and an empty one: for reading only."""
    folder = tmp_path_factory.mktemp("site")
    hosts, database = ("testserver",), f"sqlite:///{folder / 'service.db'}"
    app = create_app(ServiceConfig(folder / "data", database, folder / "runs", folder / "golden", hosts=hosts))
    service = app.state.service
    made = seeded.history(service, "port", folder)
    seeded.hostile(service, "hostile", folder)
    seeded.create(service, "empty")
    seeded.work(service, "port")
    seeded.accept(service, "port", made[6].name)
    with TestClient(app) as client:
        yield SimpleNamespace(app=app, client=client, runs=made, drawn=made[4].name)
