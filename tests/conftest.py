"""Settings of the test process and of every child it starts: no network, no more threads than cores."""

import os
from collections.abc import Iterator
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

# Nearly all the time of a test that starts workers goes into compiling. LLVM's optimisations are left out, and the
# emitters that pay only with them, but none of XLA's own passes, whose programs are looked at (a scatter becomes a loop
# in them); the order of a sum changes, which budgets allow for as for another CPU.
QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

# No test is timed: on a busy machine an example may take a hundred times as long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Folders whose files take longest: a worker that begins the last of them must not be alone at the end.
SLOW = ("parity", "toy", "faults", "docs")


@pytest.fixture(scope="session")
def compiled_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in the place of a user's cache: of this session alone, and of all its processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def compiled_quickly(compiled_here: Path) -> Iterator[None]:
    """Workers compile quickly, where the environment does not say otherwise (`make shipped` does), and nothing twice.

    It must not be what a test's own process starts JAX with: then all later tests of that process compile so.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", QUICKLY))
        patch.setenv("XDG_CACHE_HOME", str(compiled_here))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow folders first, else in the order of collection."""
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        return SLOW.index(folder) if folder in SLOW else len(SLOW)

    items.sort(key=place)
