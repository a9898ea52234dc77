"""Every mechanism of a preset is seen: switched off in the reference, a golden moves by far more than the floor."""

from pathlib import Path

import pytest

from paritygate.catalog.select import families
from paritygate.core.family import Mechanism
from paritygate.reference.mechanisms import effect
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).parents[3] / "golden"
SUITE = "tiny"
# How many float32 noise floors the logits must move by. Budgets let a right port differ by two.
FAR_X = 100

PRESETS = [
    p
    for p in families()["llama4"].presets
    if any(c.startswith(p.name + ".") for c in families()["llama4"].suites[SUITE])
]
EACH = [pytest.param(p.name, m, id=f"{p.name}-{m.name}") for p in PRESETS for m in p.mechanisms]


@pytest.mark.parametrize(("preset", "mechanism"), EACH)
def test_a_golden_moves_without_the_mechanism(reference, preset, mechanism):
    golden = GoldenStore(GOLDEN).read(SUITE, f"{preset}.{mechanism.prompt}")
    moved = effect(reference(preset), mechanism, golden.provenance["prompt_seed"])
    (logits,) = [port for port in golden.ports if port.role == "logits"]
    assert moved[logits.address] > FAR_X * logits.floors["chained"]["f32"]["rel_l2"]


@pytest.mark.parametrize("preset", [p.name for p in PRESETS])
def test_a_mechanism_that_changes_nothing_moves_nothing(reference, preset):
    golden = GoldenStore(GOLDEN).read(SUITE, f"{preset}.long")
    moved = effect(reference(preset), Mechanism("none", "long"), golden.provenance["prompt_seed"])
    assert len(moved) > 50
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
    assert len(PRESETS) == 2
    for preset in PRESETS:
        assert common <= {mechanism.name for mechanism in preset.mechanisms}


def test_a_mechanism_that_names_nothing_is_refused(reference):
    from paritygate.core.errors import UsageError

    with pytest.raises(UsageError, match="matches no weight"):
        effect(reference("tiny-scout"), Mechanism("typo", "long", weights={"*.no_such": 0.0}), 0)
    with pytest.raises(UsageError, match="not there"):
        effect(reference("tiny-scout"), Mechanism("typo", "long", {"rope_parameters.rope_tetha": 1.0}), 0)
