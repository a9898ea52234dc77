"""The vision tower in float64 against HF with its float32 islands lifted: every module on its inputs, and the whole."""

import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from drifts import over, rel_l2
from flax import nnx
from impl_cases import under
from multimodal_candidate import FLOAT64, submodule

from jax_llama4 import Llama4VisionConfig, Llama4VisionModel, Numerics
from jax_llama4.vision import pixel_shuffle

from limits import Op, limit

LAYER = {
    "input_layernorm": "norm",
    "self_attn": "block",
    "self_attn.q_proj": "dot",
    "self_attn.k_proj": "dot",
    "self_attn.v_proj": "dot",
    "self_attn.o_proj": "dot",
    "post_attention_layernorm": "norm",
    "mlp": "block",
    "mlp.fc1": "dot",
    "mlp.activation_fn": "transcendental",
    "mlp.fc2": "dot",
}
# Whose limit each module is held to.
MODULES: dict[str, Op] = {
    "patch_embedding": "block",
    "patch_embedding.linear": "dot",
    "layernorm_pre": "norm",
    "model.layers.0": "block",
    **{f"model.layers.0.{path}": op for path, op in LAYER.items()},
    "model.layers.1": "block",
    "layernorm_post": "norm",
    "vision_adapter": "block",
    "vision_adapter.mlp": "block",
    "vision_adapter.mlp.fc1": "dot",
    "vision_adapter.mlp.activation_fn": "transcendental",
    "vision_adapter.mlp.fc2": "dot",
}


@pytest.fixture(scope="module", params=cases.VISION)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tower(case, hf_multimodal) -> dict[str, np.ndarray]:
    return under("tower/", hf_multimodal[case])


def build(case: str, hf_multimodal, numerics: Numerics = FLOAT64) -> Llama4VisionModel:
    config = Llama4VisionConfig.from_dict(cases.VISION[case])
    weights = under("weights/vision_model.", hf_multimodal[case])
    return Llama4VisionModel.from_state_dict(config, weights, numerics=numerics)


@pytest.fixture(scope="module")
def model(case, hf_multimodal) -> Llama4VisionModel:
    return build(case, hf_multimodal)


@nnx.jit
def run(model, pixel_values):
    return model(pixel_values, output_attentions=True, output_hidden_states=True)


@nnx.jit
def alone(module, values, frequencies=None):
    return module(values) if frequencies is None else module(values, frequencies, output_attentions=True)


@pytest.mark.parametrize("path", MODULES)
def test_every_module_agrees_on_hfs_input(path, model, tower):
    module, given, expected = submodule(model, path), jnp.asarray(tower[f"in/{path}"]), tower[f"out/{path}"]
    allowed = limit(MODULES[path], "f64", given.shape[-1])
    if f"weights/{path}" not in tower:
        assert rel_l2(alone(module, given), expected) <= allowed
        return
    found = alone(module, given, jnp.asarray(tower["table"]))
    out = "attention_output" if path.endswith("self_attn") else "hidden_states"
    drifts = {"output": rel_l2(getattr(found, out), expected)}
    drifts["weights"] = rel_l2(found.attention_weight, tower[f"weights/{path}"])
    assert over(drifts, allowed) == {}


def test_each_module_of_hfs_tower_is_compared(tower):
    # Layers are all alike, and one of them is compared part by part; unfolding is a step of the patch embedding here.
    parts = {name.removeprefix("in/") for name in tower if name.startswith("in/")} - {"patch_embedding.unfold"}
    assert {path for path in parts if not path.startswith("model.layers.") or path.startswith("model.layers.0")} == set(
        MODULES
    ) - {"model.layers.1"}


def test_the_table_agrees_and_in_float32_to_the_last_bits(case, model, tower, hf_multimodal):
    np.testing.assert_allclose(model.rotary_embedding(), tower["table"], rtol=0, atol=limit("transcendental", "f64"))
    single = build(case, hf_multimodal, Numerics.like_hf("bfloat16")).rotary_embedding()
    assert single.dtype == "float32"  # whatever the weights are
    expected = hf_multimodal[case]["table_float32"]
    np.testing.assert_allclose(single, expected, rtol=0, atol=limit("transcendental", "f32"))


def test_features_hidden_states_and_attention_weights_of_every_layer_agree(case, model, tower):
    found = run(model, jnp.asarray(cases.PROMPTS[case].pixel_values))
    layers = model.config.num_hidden_layers
    assert (len(found.hidden_states), len(found.attentions)) == (layers + 1, layers)
    drifts = {"features": rel_l2(found.last_hidden_state, tower["last_hidden_state"])}
    drifts |= {f"hidden_states[{i}]": rel_l2(v, tower[f"hidden_states.{i}"]) for i, v in enumerate(found.hidden_states)}
    drifts |= {f"attentions[{i}]": rel_l2(v, tower[f"attentions.{i}"]) for i, v in enumerate(found.attentions)}
    assert over(drifts, limit("model", "f64", layers)) == {}
    assert f"hidden_states.{layers + 1}" not in tower and f"attentions.{layers}" not in tower


def test_without_being_asked_for_there_are_features_only(model, case):
    found = alone(model, jnp.asarray(cases.PROMPTS[case].pixel_values))
    assert set(found.to_dict()) == {"last_hidden_state"}


@pytest.mark.parametrize("name", cases.SHUFFLES)
def test_pixel_shuffle_moves_patches_as_hf_does(name, hf_multimodal):
    values, ratio = cases.SHUFFLES[name]
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(values), ratio), hf_multimodal["odds"][f"shuffled/{name}"])
    if ratio == 1:
        np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(values), ratio), values)
