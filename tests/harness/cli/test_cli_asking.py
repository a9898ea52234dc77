"""What is said of a run that a service does not have, and of one that it has."""

from pathlib import Path

import httpx2
import pytest

from harness.report import synthetic
from paritygate.cli.asking import say_gate
from paritygate.cli.main import read_settings
from paritygate.cli.options import OutputFormat
from paritygate.client.client import Client
from paritygate.client.transport import Transport
from paritygate.core.errors import UsageError
from paritygate.service.problems import NotFound, as_json


def refusing(what: str) -> Client:
    """A client of a service that answers with one refusal."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json=as_json(NotFound(what, where="port/a-run")))

    return Client(Transport("http://localhost", transport=httpx2.MockTransport(answer)))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no such run", "the service does not have this run, or not the project: port"),
        ("no such project", "the service does not have this run, or not the project: port"),
        ("no earlier run of that branch", "no earlier run of that branch: port/"),
    ],
)
def test_only_a_run_that_is_missing_is_to_be_sent(tmp_path: Path, what: str, said: str) -> None:
    run = synthetic.write_run(tmp_path / "a-run")
    settings = read_settings({"PARITYGATE_RUNS": str(tmp_path)}, [])
    with refusing(what) as service, pytest.raises(UsageError) as raised:
        say_gate(settings, service, "port", str(run.folder), "branch:main", OutputFormat.TEXT)
    assert str(raised.value).startswith(said)
    assert ("paritygate upload" in raised.value.try_) is said.startswith("the service")
