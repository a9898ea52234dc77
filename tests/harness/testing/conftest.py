"""A project with two tests, one of parity: the toy, captured once, and replays by a stand-in that needs no JAX."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from toy.forked import FORKED

HERE = Path(__file__).resolve().parent
TOY = HERE.parents[1] / "toy"
EXAMPLE = HERE.parents[2] / "examples" / "own_model"

INI = f"""\
[pytest]
parity_path = {TOY}
parity_suite = toy
parity_cells = f64,bf16
addopts = -p no:timeout -p no:anyio -p no:hypothesispytest -p no:jaxtyping -p no:schemathesis
filterwarnings = error
"""
TESTS = """\
import pytest

def test_parity(parity_case, parity):
    parity.check(parity_case)

@pytest.mark.parametrize("number", range(6))
def test_other(number):
    pass
"""
# What every process of the session does, and what the one that the user started has imported at its end.
CONFTEST = f"""\
import json, os, sys
from pathlib import Path

sys.path.append({str(HERE)!r})

def pytest_configure(config):
    import paritygate.replay.launch, paritygate.replay.platforms, paritygate.replay.processes
    from paritygate.replay.platforms import Presence
    import stand_in
    paritygate.replay.launch.replay = stand_in.replay
    if devices := int(os.environ.get("GPUS", "0")):
        here = lambda platform, interpreter="": Presence(platform, devices, "stand-in")
        paritygate.replay.processes.probe = paritygate.replay.platforms.probe = here

def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's goldens, with the example's budgets; made by whichever worker of pytest-xdist comes first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy-golden"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "toy").exists():
            budgets = (EXAMPLE / "golden" / "budgets.toml").read_text()
            # The stand-in shows no choices, so none are judged.
            (folder / "budgets.toml").write_text(budgets.partition('[[rule]]\nname = "top1"')[0])
            environ = os.environ | {"PARITYGATE_PATH": str(TOY), "PARITYGATE_GOLDEN": str(folder)}
            code, _, said = FORKED.call(("capture", "toy"), folder, environ)
            assert code == 0, said
    return folder


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, golden: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest in a folder with the project; the environment says what is wrong with its port."""
    shutil.copytree(golden, pytester.path / "golden")
    pytester.makeini(INI)
    pytester.makepyfile(test_port=TESTS)
    pytester.makeconftest(CONFTEST)
    for name in ("PARITYGATE_PATH", "PARITYGATE_GOLDEN", "PARITYGATE_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STAND_IN_LOG", str(pytester.path / "replays.log"))

    def run(*arguments: str, **environ: str) -> pytest.RunResult:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            return pytester.runpytest_subprocess(*arguments, timeout=240)

    return run


@pytest.fixture
def replays(pytester: pytest.Pytester) -> Callable[[], list[str]]:
    """What was replayed so far, a line a call."""
    return lambda: (pytester.path / "replays.log").read_text().splitlines()
