"""A folder of runs and goldens, and the command line called in this process."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.cli.main import main


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    path = Path(__file__).parents[1] / "report" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_run", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PARITYGATE_GOLDEN": str(tmp_path / "golden"),
        "PARITYGATE_RUNS": str(tmp_path / "runs"),
        "HOME": str(tmp_path),
    }


@pytest.fixture
def paritygate(environ: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: str, **more: str) -> Said:
        code = main(arguments, environ | more)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call
