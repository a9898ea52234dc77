"""How the workers of these tests compile: quickly, but for the suite that is compiled as for a user."""

import os
from collections.abc import Iterator

import pytest

# Nearly all the time of these tests goes into compiling. LLVM's optimisations are left out, and none of XLA's, whose
# programs are looked at; the order of a sum changes, which budgets allow for as for another CPU.
QUICKLY = "--xla_backend_optimization_level=0"


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly() -> Iterator[None]:
    """Where the environment does not say otherwise: `make shipped` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", QUICKLY))
        yield
