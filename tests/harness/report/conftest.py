"""The builder of runs that never ran, for every test here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.report.data import ReportData


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"report_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    return load("synthetic")


@pytest.fixture(scope="session")
def planted() -> ModuleType:
    """Rows with one fault each, measured."""
    return load("planted")


@pytest.fixture(scope="session")
def chromium() -> ModuleType:
    return load("chromium")


@pytest.fixture(scope="session")
def passing(synthetic: ModuleType) -> ReportData:
    return ReportData(synthetic.info(), tuple(synthetic.rows("none")))


@pytest.fixture(scope="session")
def failing(synthetic: ModuleType) -> ReportData:
    """A semantic fault at layers.1.attn:inner.q_rope, single rows with every other verdict, a gap, a new finding."""
    made, said = tuple(synthetic.rows("all")), "captured with seed 0"
    compiled, changed = synthetic.programs()
    return ReportData(
        synthetic.info(), made, said, synthetic.coverage(), lint=synthetic.lint(), programs=compiled,
        program_changes=changed, comparison=synthetic.comparison(),
    )  # fmt: skip
