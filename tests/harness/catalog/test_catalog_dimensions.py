"""What a family says that a mesh does not divide is what `jax_llama4` refuses, layout by layout."""

import re

import pytest
from jax.sharding import AbstractMesh

from jax_llama4 import Llama4ForCausalLM, Llama4ForConditionalGeneration, Rules
from jax_llama4.checkpoint import abstract_model, parameters, shardings_of
from jax_llama4.precision import resolve
from jax_llama4.sharding import Placement, ShardingError
from paritygate.catalog.select import families, layout_of, meshes

CLASSES = {"llama4": Llama4ForCausalLM, "llama4-multimodal": Llama4ForConditionalGeneration}
ALONE = [f"{kind}{size}" for kind in ("dp", "fsdp", "tp", "ep", "sp") for size in (2, 4, 8)]
LAYOUTS = [layout_of(name) for name in dict.fromkeys([*ALONE, *meshes()]) if layout_of(name).devices > 1]
PRESETS = [(name, preset) for name in CLASSES for preset in families()[name].presets]


@pytest.mark.parametrize(("family", "preset"), [pytest.param(f, p, id=p.name) for f, p in PRESETS])
def test_the_spec_says_what_the_candidate_refuses(family, preset):
    cls = CLASSES[family]
    config = cls.config_class.from_dict(dict(preset.config))
    found = parameters(abstract_model(cls, config, resolve()))
    for layout in LAYOUTS:
        kinds, sizes = zip(*layout.axes, strict=True)
        refused: set[str] = set()
        try:
            shardings_of(found, config, Placement(AbstractMesh(sizes, kinds), Rules.of(**layout.rules)))
        except ShardingError as error:
            refused = {problem.partition(" has ")[2].split()[0] for problem in error.problems}
        said = families()[family].unfit(preset, layout)
        assert set(re.findall(r" = (\d+)", said)) == refused, f"{layout.name}: {said}"


@pytest.mark.parametrize(
    ("preset", "unfit"),
    [
        ("mesh-text", {"tp8": "tp8 does not divide num_key_value_heads = 4"}),
        ("mesh-pictures", {"fsdp8": "fsdp8 does not divide vision_config.hidden_size = 36"}),
    ],
)
def test_each_preset_of_the_suite_mesh_fits_all_layouts_but_one(preset, unfit):
    (family,) = (family for family in families().values() if any(p.name == preset for p in family.presets))
    said = {layout.name: family.unfit(family.preset(preset), layout) for layout in LAYOUTS}
    assert {name: why for name, why in said.items() if why} == unfit
