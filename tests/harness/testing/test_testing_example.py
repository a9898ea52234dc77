"""The example, copied out of the repository, and the commands of its README as a user would type them: real replays."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paritygate.core.run import Run

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "own_model"
WRITTEN = ("__pycache__", "reports", "gated", "objects", ".lock", ".pytest_cache")
CONTROLLER = """
import json, sys

def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        open("modules.json", "w").write(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def commands() -> list[str]:
    """The blocks of the README that are commands, in order."""
    return re.findall(r"^```\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.M | re.S)


def typed(folder: Path, script: str, addopts: str = "") -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PARITYGATE_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}:{environ['PATH']}"
    return subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=environ | {"PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "PYTEST_ADDOPTS": addopts},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.timeout(600)  # a capture and four replays, which on a busy machine take a minute each
def test_a_repository_of_ones_own_passes_and_its_bug_is_found(tmp_path: Path, commands: list[str]) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "own_model", ignore=shutil.ignore_patterns(*WRITTEN))
    assert not list(folder.rglob("conftest.py"))
    capture_and_test, bug = commands[0], next(block for block in commands if block.startswith("sed"))

    said = typed(folder, capture_and_test)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "PASS  All 32 values of 1 case are within budget." in said.stdout
    assert "4 passed" in said.stdout
    (run,) = (folder / "reports").iterdir()
    assert {str(row.verdict) for row in Run.open(run).judged()} == {"pass"} and (run / "report.html").is_file()

    (folder / "controller.py").write_text(CONTROLLER)
    said = typed(folder, bug, "-n 2 -p controller")
    assert said.returncode == 1, said.stdout + said.stderr
    assert "4 failed" in said.stdout and "Traceback" not in said.stdout
    for cell in ("f64", "bf16"):
        assert re.search(rf"^gated-2.text {cell}/single/cpu  layers.0.mlp:out  isolated  semantic  ", said.stdout, re.M)
    assert "the difference arises inside layers.0.mlp" in said.stdout
    compiled = re.findall(r"^compiled  (\w+)/single/cpu  in (gw\d): \d+ programs", said.stdout, re.M)
    assert sorted(compiled) == [("bf16", "gw1"), ("f64", "gw0")], "a worker each, asked for by no other"
    assert not {"jax", "jaxlib", "torch"} & set(json.loads((folder / "modules.json").read_text()))
