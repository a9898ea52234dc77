"""The catalogue of faults, and the goldens that show them."""

from functools import cache
from pathlib import Path

import pytest

from paritygate.catalog.select import case_of
from paritygate.core.fault import Fault
from paritygate.core.golden import Golden
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@cache
def read(suite: str, case: str) -> Golden:
    return GoldenStore(GOLDEN).read(suite, case)


@pytest.fixture(scope="session")
def compile_cache(compiled_here: Path) -> Path:
    """That of the commands which take `compiled_here` for a user's."""
    return compiled_here / "paritygate" / "xla"


@pytest.fixture(scope="session")
def golden_of():
    """The golden of the case that shows a fault."""

    def golden(fault: Fault) -> Golden:
        suite, case = case_of(fault)
        return read(suite, case.id)

    return golden
