"""Settings of the test process and of every child it starts: no network, no more threads than cores."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]  # for tests/harness/testing; a conftest further down may not ask for it

# Reaching a model hub is never right here: a test that tries must fail at once, not wait for a time-out.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Two xdist workers on two cores: one BLAS and OpenMP thread each, or they spend the time taking cores from each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# No test is timed: on a busy machine an example may take a hundred times as long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Folders whose files take longest: a worker that begins the last of them must not be alone at the end.
SLOW = ("parity", "toy", "faults", "docs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow folders first, else in the order of collection."""
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        return SLOW.index(folder) if folder in SLOW else len(SLOW)

    items.sort(key=place)
