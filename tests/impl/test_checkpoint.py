"""Checkpoint: bit-exact round trip, each tensor used once, and everything that does not fit reported at once."""

import jax
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS
from jax.sharding import PartitionSpec
from safetensors.numpy import save_file

from jax_llama4 import (
    CheckpointError,
    Llama4ForCausalLM,
    Llama4TextConfig,
    Numerics,
    ShardingError,
    combine,
    load_state_dict,
    load_tensors,
    make_mesh,
    param_shardings,
    read_safetensors,
    to_state_dict,
)
from jax_llama4.checkpoint import Rule, abstract_model, parameters
from jax_llama4.sharding import as_placement

NUMERICS = {name: Numerics.like_hf(name) for name in ("float64", "float32", "bfloat16", "float16")}


def config(case: str) -> Llama4TextConfig:
    return Llama4TextConfig.from_dict(CONFIGS[case])


@pytest.fixture(scope="module")
def states(hf_runs) -> dict[str, dict[str, np.ndarray]]:
    """HF's own tensors by its own names. HF names a tied head in the state dict, but leaves it out of the file."""
    found = {case: dict(run.weights) for case, run in hf_runs.items()}
    for case, state in found.items():
        if config(case).tie_word_embeddings:
            del state["lm_head.weight"]
    return found


@pytest.mark.parametrize("dtype", NUMERICS)
@pytest.mark.parametrize("case", CONFIGS)
def test_hfs_tensors_load_and_come_back_bit_exact(case, dtype, states):
    stored = {name: value.astype(NUMERICS[dtype].param) for name, value in states[case].items()}
    found = to_state_dict(load_state_dict(config(case), stored, NUMERICS[dtype]))
    assert set(found) == set(stored)
    for name, value in found.items():
        assert value.dtype == stored[name].dtype
        np.testing.assert_array_equal(value, stored[name], err_msg=name)


def test_weights_are_cast_to_the_param_role(states):
    model = load_state_dict(config("scout"), states["scout"], NUMERICS["bfloat16"])
    found, name = to_state_dict(model), "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(found[name], states["scout"][name].astype(NUMERICS["bfloat16"].param))


def test_all_problems_are_reported_at_once(states):
    state = dict(states["scout"])
    del state["lm_head.weight"]
    state["model.rope.freqs"] = np.zeros(3)
    state["model.norm.weight"] = np.zeros((24, 1))
    state["model.embed_tokens.weight"] = np.zeros((61, 24), dtype=np.int8)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_state_dict(config("scout"), state, numerics=NUMERICS["float32"])
    assert sorted(caught.value.problems) == [
        "lm_head.weight: missing, expected (61, 24)",
        "model.embed_tokens.weight: expected floating values, got int8",
        "model.norm.weight: expected shape (24,), got (24, 1)",
        "model.rope.freqs: unexpected, (3,)",
    ]
    assert str(caught.value).startswith("checkpoint does not fit the model:\n  lm_head.weight: missing")


def test_a_transposed_matrix_is_refused_with_both_shapes(states):
    name = "model.layers.0.self_attn.q_proj.weight"
    state = states["scout"] | {name: states["scout"][name].T}
    with pytest.raises(CheckpointError, match=r"expected shape \(32, 24\), got \(24, 32\)"):
        load_state_dict(config("scout"), state, NUMERICS["float32"])


def test_a_tensor_given_twice_is_refused(states):
    pairs = [*states["scout"].items(), ("model.norm.weight", np.ones(24))]
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight: given twice, \(24,\) and \(24,\)"):
        load_tensors(config("scout"), pairs, NUMERICS["float32"])


def test_the_text_part_of_a_multimodal_file(states):
    state = {f"language_model.{name}": value for name, value in states["scout"].items()}
    state |= {"vision_model.class_embedding": np.ones(3), "multi_modal_projector.linear_1.weight": np.ones((2, 2))}
    found = to_state_dict(load_state_dict(config("scout"), state, NUMERICS["float64"]))
    np.testing.assert_array_equal(found["lm_head.weight"], states["scout"]["lm_head.weight"])


def test_vision_tensors_in_a_text_file_are_unexpected(states):
    with pytest.raises(CheckpointError, match=r"vision_model\.class_embedding: unexpected, \(3,\)"):
        load_state_dict(
            config("scout"), states["scout"] | {"vision_model.class_embedding": np.ones(3)}, NUMERICS["float32"]
        )


def test_a_tied_head_may_be_named_if_it_is_the_table(states):
    table = states["unusual"]["model.embed_tokens.weight"]
    model = load_state_dict(config("unusual"), states["unusual"] | {"lm_head.weight": table}, NUMERICS["float64"])
    assert "lm_head.weight" not in to_state_dict(model)
    assert model.lm_head.embedding is model.model.embed_tokens.embedding
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: differs from model\.embed_tokens\.weight"):
        load_state_dict(config("unusual"), states["unusual"] | {"lm_head.weight": table + 1}, NUMERICS["float64"])


def test_safetensors_shards_are_read_and_a_name_in_two_of_them_is_seen(states, tmp_path):
    stored = {name: value.astype(NUMERICS["bfloat16"].param) for name, value in states["scout"].items()}
    names = sorted(stored)
    save_file({name: stored[name] for name in names[:9]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: stored[name] for name in names[9:]}, tmp_path / "model-00002-of-00002.safetensors")
    model = load_tensors(config("scout"), read_safetensors(tmp_path), NUMERICS["bfloat16"])
    np.testing.assert_array_equal(to_state_dict(model)["lm_head.weight"], stored["lm_head.weight"])

    save_file({names[0]: stored[names[0]]}, tmp_path / "more.safetensors")
    with pytest.raises(CheckpointError, match="given twice"):
        load_tensors(config("scout"), read_safetensors(tmp_path), NUMERICS["bfloat16"])


def test_a_folder_without_safetensors_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected \*\.safetensors files, found none"):
        list(read_safetensors(tmp_path))


def test_stacked_layers_are_filled_row_by_row_and_written_back_as_layers(states):
    model = load_state_dict(config("maverick"), states["maverick"], NUMERICS["float64"], scan_layers=True)
    assert [layer.layer_numbers for layer in model.model.layers] == [(0,), (1,), (2,), (3,)]
    shallow = CONFIGS["maverick"] | {"no_rope_layer_interval": 2}
    model = load_state_dict(
        Llama4TextConfig.from_dict(shallow), states["maverick"], NUMERICS["float64"], scan_layers=True
    )
    assert [layer.layer_numbers for layer in model.model.layers] == [(0, 2), (1, 3)]
    name = "model.layers.{}.self_attn.q_proj.weight"
    for place, layer in enumerate(model.model.layers):
        for row in (0, 1):
            expected = states["maverick"][name.format(place + 2 * row)]
            np.testing.assert_array_equal(layer.self_attn.q_proj.kernel[row].T, expected)
    found = to_state_dict(model)
    assert set(found) == set(states["maverick"])
    for key, value in found.items():
        np.testing.assert_array_equal(value, states["maverick"][key], err_msg=key)


def test_a_missing_row_of_a_stack_is_named_by_its_layer(states):
    state = dict(states["scout"])
    del state["model.layers.2.self_attn.k_proj.weight"]
    with pytest.raises(CheckpointError) as caught:
        load_state_dict(config("scout"), state, NUMERICS["float32"], scan_layers=True)
    assert caught.value.problems == ("model.layers.2.self_attn.k_proj.weight: missing, expected (16, 24)",)


def test_a_stack_is_split_along_the_axes_of_its_layers(states):
    mesh = make_mesh((1, 1), ("fsdp", "tensor"))
    rules = combine("fsdp", "tensor")
    placed = param_shardings(config("scout"), mesh, rules, scan_layers=True)
    assert placed["model.layers.0.self_attn.q_proj.kernel"].spec == PartitionSpec(None, "fsdp", "tensor")
    placement = as_placement(mesh, rules)
    model = load_state_dict(
        config("scout"), states["scout"], NUMERICS["float64"], placement=placement, scan_layers=True
    )
    assert all(leaf.sharding.mesh == mesh for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    for key, value in to_state_dict(model).items():
        np.testing.assert_array_equal(value, states["scout"][key], err_msg=key)
    assert (
        model.model.layers[0].self_attn.q_proj.kernel[...].sharding == placed["model.layers.0.self_attn.q_proj.kernel"]
    )


def test_a_parameter_without_a_rule_is_named(states):
    model = load_state_dict(config("scout"), states["scout"], NUMERICS["float32"])
    model.model.extra = nnx.Param(np.zeros(3))
    with pytest.raises(CheckpointError, match=r"model\.extra: expected one rule for this parameter, 0 match"):
        to_state_dict(model)


def test_every_rule_names_an_axis_for_each_dimension():
    model = abstract_model(Llama4ForCausalLM, config("unusual"), NUMERICS["float32"])
    for parameter in parameters(model).values():
        assert len(parameter.axes) == len(parameter.variable.shape), parameter.path
    with pytest.raises(ShardingError, match="emebd: no such logical axis, expected embed"):
        Rule("a", "a", "as_is", ("emebd",))
