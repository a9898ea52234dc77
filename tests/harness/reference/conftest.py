"""The Llama 4 references, built once per process: torch and transformers take ten seconds to import."""

import pytest


@pytest.fixture(scope="session")
def reference():
    from paritygate.catalog.select import families
    from paritygate.reference.build import Reference

    known = {preset.name: (family, preset) for family in families().values() for preset in family.presets}
    built = {}

    def get(preset: str) -> Reference:
        if preset not in built:
            built[preset] = Reference(*known[preset])
        return built[preset]

    return get
