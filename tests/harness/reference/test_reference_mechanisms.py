"""Every mechanism of a preset is seen: switched off in the reference, a golden moves by far more than the floor."""

from pathlib import Path

import pytest

from paritygate.catalog.select import families
from paritygate.core.family import Mechanism
from paritygate.reference.mechanisms import effect
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).parents[3] / "golden"
SUITES = ("tiny", "vision")
# How many float32 noise floors the logits must move by. Budgets let a right port differ by two.
FAR_X = 100

PRESETS = [
    (suite, preset)
    for suite in SUITES
    for family in families().values()
    for preset in family.presets
    if any(case.startswith(preset.name + ".") for case in family.suites.get(suite, ()))
]
EACH = [pytest.param(suite, p.name, m, id=f"{p.name}-{m.name}") for suite, p in PRESETS for m in p.mechanisms]


@pytest.mark.parametrize(("suite", "preset", "mechanism"), EACH)
def test_a_golden_moves_without_the_mechanism(reference, suite, preset, mechanism):
    golden = GoldenStore(GOLDEN).read(suite, f"{preset}.{mechanism.prompt}")
    moved = effect(reference(preset), mechanism, golden.provenance["prompt_seed"])
    (logits,) = [port for port in golden.ports if port.role == "logits"]
    assert moved[logits.address] > FAR_X * logits.floors["chained"]["f32"]["rel_l2"]


@pytest.mark.parametrize(("suite", "preset"), [pytest.param(suite, p.name, id=p.name) for suite, p in PRESETS])
def test_a_mechanism_that_changes_nothing_moves_nothing(reference, suite, preset):
    prompt = {"tiny": "long", "vision": "mixed"}[suite]
    golden = GoldenStore(GOLDEN).read(suite, f"{preset}.{prompt}")
    moved = effect(reference(preset), Mechanism("none", prompt), golden.provenance["prompt_seed"])
    assert len(moved) > 40
    assert set(moved.values()) == {0.0}


def test_every_preset_lists_what_it_is_there_for():
    common = {
        "chunked attention",
        "chunk origin at the first real token",
        "temperature tuning",
        "NoPE layers",
        "rope base",
        "positions past 8192",
        "padding mask",
        "norm eps",
    }
    of_pictures = {
        "vision rope base",
        "class token",
        "positional embedding",
        "adapter",
        "projector",
        "pixels",
        "order of tiles",
        "order of channels",
        "order of pixel rows",
        "order of pixel columns",
        "padding of a row with a picture",
    }
    assert [preset.name for _, preset in PRESETS] == ["tiny-scout", "tiny-maverick", "tiny-vision", "tiny-multimodal"]
    for suite, preset in PRESETS:
        assert {"tiny": common, "vision": of_pictures}[suite] <= {mechanism.name for mechanism in preset.mechanisms}


def test_a_mechanism_that_names_nothing_is_refused(reference):
    from paritygate.core.errors import UsageError

    with pytest.raises(UsageError, match="matches no weight"):
        effect(reference("tiny-scout"), Mechanism("typo", "long", weights={"*.no_such": 0.0}), 0)
    with pytest.raises(UsageError, match="not there"):
        effect(reference("tiny-scout"), Mechanism("typo", "long", {"rope_parameters.rope_tetha": 1.0}), 0)
