"""The workers of these tests compile quickly, but for the suite that is compiled as for a user."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def all_compile_quickly(compiled_quickly: None) -> None:
    """Each file's, whatever else it asks for."""
