"""The toy captured by the command line, and the same with a candidate that is wrong in one way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy.workplace import TOY, Workplace

BUDGETS = TOY.parents[1] / "golden" / "budgets.toml"


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's golden, captured by the command line. Nobody writes there."""
    root = tmp_path_factory.mktemp("captured")
    (root / "golden").mkdir()
    shutil.copy(BUDGETS, root / "golden")
    said = Workplace(root).done("capture", "toy")
    assert "toy-2.plain: 14 ports captured" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate run toy"
    return root / "golden"


@pytest.fixture(scope="module")
def place(captured: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The toy captured, in folders of its own."""
    root = tmp_path_factory.mktemp("toy")
    shutil.copytree(captured, root / "golden")
    return Workplace(root)


@pytest.fixture(scope="module")
def good(place: Workplace) -> dict[str, Any]:
    """What `run --json` says of the toy in all four dtypes and both modes."""
    return place.done("run", "toy", "--json").json


@pytest.fixture
def variant(place: Workplace, tmp_path: Path) -> Callable[..., Workplace]:
    """variant("doubled") → the same folders, with that candidate named by the one line of the family file."""

    def make(name: str) -> Workplace:
        directory = shutil.copytree(TOY, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
        family = directory / "families" / "toy.py"
        text = family.read_text()
        assert text.count("toy_jax:build") == 1
        family.write_text(text.replace("toy_jax:build", f"toy_variants:{name}"))
        return Workplace(place.root, directory)

    return make
