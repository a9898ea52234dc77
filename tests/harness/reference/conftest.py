"""The Llama 4 references, built once per process: torch and transformers take ten seconds to import."""

import pytest


@pytest.fixture(scope="session")
def family():
    from paritygate.catalog.select import families

    return families()["llama4"]


@pytest.fixture(scope="session")
def reference(family):
    from paritygate.reference.build import Reference

    built = {}

    def get(preset: str) -> Reference:
        if preset not in built:
            built[preset] = Reference(family, family.preset(preset))
        return built[preset]

    return get
