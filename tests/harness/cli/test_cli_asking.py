"""What is said of a run that a service does not have, and of one that it has."""

from pathlib import Path

import pytest

from harness.report import synthetic
from paritygate.cli.asking import say_gate
from paritygate.cli.main import read_settings
from paritygate.cli.options import OutputFormat
from paritygate.client.transport import ServerRefused
from paritygate.core.errors import UsageError


class Refusing:
    """A service that answers with one refusal."""

    url = "http://localhost"

    def __init__(self, what: str):
        self.what = what

    def gate(self, project: str, run: str, against: str) -> None:
        raise ServerRefused(404, self.what, where=f"{project}/{run}")


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
    with pytest.raises(UsageError) as raised:
        say_gate(settings, Refusing(what), "port", str(run.folder), "branch:main", OutputFormat.TEXT)  # type: ignore[arg-type]
    assert str(raised.value).startswith(said)
    assert ("paritygate upload" in raised.value.try_) is said.startswith("the service")
