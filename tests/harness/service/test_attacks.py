"""Every attack gets what the table says, and the documentation has the table."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from harness.report import synthetic
from harness.service.attacks import ATTACKS, Attack, table
from harness.service.world import World
from paritygate.cli.serving import listening
from paritygate.service.app import create_app
from paritygate.service.config import Limits, ServiceConfig
from paritygate.service.folders import Folders

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One service for all: over a socket whoever is here may come unnamed, and in process nobody may."""
    folder = tmp_path_factory.mktemp("attacked")
    config = ServiceConfig.beside(folder / "data", folder / "runs", folder / "golden", "", "loopback", ("testserver",))
    config = replace(config, limits=Limits(piece_s=0.5))
    for name in ("llama", "other"):
        Folders(config).create(name)
    sent = synthetic.write_run(folder / "sent" / "20260102T030405Z-tiny-abcd", layers=1).folder
    app = create_app(config)
    with listening("127.0.0.1", 0) as at, TestClient(app) as client:
        server = uvicorn.Server(
            uvicorn.Config(app, http="h11", ws="none", log_config=None, lifespan="off", proxy_headers=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield World(app, client, sent, config.data, at.getsockname()[1])
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_gets_what_the_table_says(world: World, attack: Attack) -> None:
    assert attack.do(world) == attack.gets


def test_the_documentation_has_the_table() -> None:
    assert table() in (ROOT / "docs" / "operations.md").read_text(), "python -m harness.service.attacks prints it"
