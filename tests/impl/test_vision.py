"""The vision tower's own rules, each by hand: what comes where, what is cut off, what nobody reads; and refusals."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from compiling import QUICK
from drifts import over, rel_l2
from flax import nnx
from impl_cases import under
from multimodal_candidate import FLOAT64, inside

from jax_llama4 import Llama4VisionConfig, Llama4VisionModel, Numerics, to_state_dict
from jax_llama4.mlp import GELUActivation
from jax_llama4.norms import Llama4VisionLayerNorm
from jax_llama4.rope import Llama4VisionRotaryEmbedding
from jax_llama4.vision import Llama4UnfoldConvolution, pixel_shuffle

from limits import limit

SQUARE = Llama4VisionConfig.from_dict(cases.VISION["square"])
PIXELS = jnp.asarray(cases.PROMPTS["square"].pixel_values)
LAYERS = SQUARE.num_hidden_layers


def build(hf_multimodal, config: Llama4VisionConfig = SQUARE, numerics: Numerics = FLOAT64) -> Llama4VisionModel:
    weights = under("weights/vision_model.", hf_multimodal["square"])
    return Llama4VisionModel.from_state_dict(config, weights, numerics=numerics)


@pytest.fixture(scope="module")
def model(hf_multimodal) -> Llama4VisionModel:
    return build(hf_multimodal)


@nnx.jit(static_argnames="feature_layer")
def features(model, pixel_values, feature_layer=-1):
    return model(pixel_values, feature_layer=feature_layer).last_hidden_state


def test_the_class_token_and_its_position_come_last(model):
    found = inside(model, {"pixel_values": PIXELS}, "tap_tokens")
    patches = model.patch_embedding(PIXELS)
    positions = model.positional_embedding_vlm[...]
    np.testing.assert_array_equal(found[:, :-1], patches + positions[:-1])
    np.testing.assert_array_equal(found[:, -1], jnp.tile(model.class_embedding[...] + positions[-1], (len(PIXELS), 1)))


def test_the_class_token_leaves_after_the_norm(model):
    normed = inside(model, {"pixel_values": PIXELS}, "layernorm_post")
    assert normed.shape == (len(PIXELS), SQUARE.num_patches + 1, SQUARE.hidden_size)
    shuffled = inside(model, {"pixel_values": PIXELS}, "vision_adapter.tap_shuffle")
    np.testing.assert_array_equal(shuffled, pixel_shuffle(normed[:, :-1], SQUARE.pixel_shuffle_ratio))


def test_the_table_turns_by_column_then_by_row_from_one_on_and_never_for_the_class_token():
    config = dataclasses.replace(
        SQUARE, hidden_size=8, num_attention_heads=1, intermediate_size=32, image_size=8, patch_size=4
    )
    found = Llama4VisionRotaryEmbedding(config, FLOAT64)()
    # Four pairs: two for x, two for y, at theta^0 and theta^(-2/4).
    slow = SQUARE.rope_parameters.rope_theta**-0.5
    angles = [[x, x * slow, y, y * slow] for y in (1, 2) for x in (1, 2)] + [[0, 0, 0, 0]]
    expected = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit("transcendental", "f64"))
    assert found[-1].tolist() == [[1.0, 0.0]] * 4


def test_gelu_is_the_exact_one():
    x = np.linspace(-4, 4, 41)
    expected = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x]
    found = GELUActivation(FLOAT64)(jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit("transcendental", "f64"))


@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_gelu_of_16_bits_rounds_once_as_torchs(name, hf_multimodal):
    numerics = Numerics.like_hf({"bf16": "bfloat16", "f16": "float16"}[name])
    x = jnp.asarray(cases.GELU_INPUTS).astype(numerics.compute)
    expected = hf_multimodal["odds"][f"gelu/{name}"]
    np.testing.assert_array_equal(np.asarray(GELUActivation(numerics)(x), expected.dtype), expected)
    narrow = GELUActivation(Numerics.uniform(numerics.compute))(x)
    assert (np.asarray(narrow, expected.dtype) != expected).any(), "the data cannot tell one rounding from several"


def test_the_adapter_activates_after_its_last_matrix(model):
    mlp = model.vision_adapter.mlp
    given = inside(model, {"pixel_values": PIXELS}, "vision_adapter.tap_shuffle")
    last = inside(model, {"pixel_values": PIXELS}, "vision_adapter.mlp.fc2")
    gelu = GELUActivation(FLOAT64)
    np.testing.assert_allclose(mlp(given), gelu(mlp.fc2(gelu(mlp.fc1(given)))), rtol=0, atol=limit("block", "f64"))
    assert rel_l2(features(model, PIXELS), gelu(last)) <= limit("block", "f64")


def test_the_norms_eps_is_torchs_whatever_the_configuration_says(model, hf_multimodal):
    norm = Llama4VisionLayerNorm(2, numerics=FLOAT64)
    away = 2.0**-10  # exact beside both means, the second of which is a million times as large
    found = norm(jnp.array([[mean + away, mean - away] for mean in (1.0, 1024.0)]))
    expected = away / math.sqrt(away**2 + 1e-5)
    np.testing.assert_allclose(found, [[expected, -expected]] * 2, rtol=limit("norm", "f64"))
    assert cases.VISION["square"]["norm_eps"] != norm.eps
    other = build(hf_multimodal, dataclasses.replace(SQUARE, norm_eps=1e-6))
    np.testing.assert_array_equal(features(other, PIXELS), features(model, PIXELS))


def test_a_patch_is_read_by_channel_then_row_then_column_and_patches_row_by_row():
    config = Llama4VisionConfig.from_dict(cases.VISION["thirds"] | {"num_channels": 3})
    convolution = Llama4UnfoldConvolution(config, numerics=FLOAT64, rngs=nnx.Rngs(0))
    pixels = cases.draw_pixels(np.random.default_rng(3), cases.VISION["thirds"] | {"num_channels": 3}, 1)
    size, side = config.patch_size, config.patches_per_side
    for row, column in np.ndindex(side, side):
        patch = pixels[0, :, row * size : (row + 1) * size, column * size : (column + 1) * size]
        expected = patch.reshape(-1) @ np.asarray(convolution.linear.kernel[...])
        found = convolution(jnp.asarray(pixels))[0, row * side + column]
        assert rel_l2(found, expected) <= limit("dot", "f64", patch.size), (row, column)


def test_what_fills_no_patch_is_cut_off_below_and_on_the_right(hf_multimodal):
    config = Llama4VisionConfig.from_dict(cases.VISION["thirds"])
    weights = under("weights/vision_model.", hf_multimodal["thirds"])
    tower = Llama4VisionModel.from_state_dict(config, weights, numerics=FLOAT64)
    pixels = jnp.asarray(cases.PROMPTS["thirds"].pixel_values[:1])
    kept = config.patches_per_side * config.patch_size
    assert kept == config.image_size - 2
    expected = features(tower, pixels)
    np.testing.assert_array_equal(features(tower, pixels.at[:, :, kept:].set(7).at[:, :, :, kept:].set(7)), expected)
    for changed in (pixels.at[:, :, kept - 1, 0].set(7), pixels.at[:, :, 0, kept - 1].set(7)):
        assert (np.asarray(features(tower, changed)) != np.asarray(expected)).any()


@pytest.mark.parametrize(("side", "block"), [(4, 2), (6, 3), (6, 2), (3, 3), (3, 1)])
def test_a_shuffled_token_holds_its_block_row_by_row_channels_innermost(side, block):
    width = 5
    values = np.arange(2 * side * side * width).reshape(2, side, side, width)
    found = pixel_shuffle(jnp.asarray(values.reshape(2, side * side, width)).astype(float), 1 / block)
    blocks = side // block
    assert found.shape == (2, blocks * blocks, width * block * block)
    for tile, row, column in np.ndindex(2, blocks, blocks):
        expected = values[tile, row * block : (row + 1) * block, column * block : (column + 1) * block].reshape(-1)
        assert found[tile, row * blocks + column].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("patches", "ratio", "message"),
    [
        (15, 0.5, "pixel_shuffle: expected a square of patches whose side 2 divides, got 15"),
        (9, 0.5, "pixel_shuffle: expected a square of patches whose side 2 divides, got 9"),
        (9, 0.4, "pixel_shuffle_ratio: expected 1 over a positive int, got 0.4"),
    ],
)
def test_what_makes_no_blocks_is_not_shuffled(patches, ratio, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pixel_shuffle(jnp.zeros((1, patches, 4)), ratio)


def test_features_are_made_of_the_last_layer_unless_asked_otherwise(model):
    hidden = model(PIXELS, output_hidden_states=True).hidden_states
    default = features(model, PIXELS)
    np.testing.assert_array_equal(features(model, PIXELS, LAYERS), default)
    for layer in (-LAYERS - 1, 1, -2, LAYERS):
        expected = model.vision_adapter(model.layernorm_post(hidden[layer])[:, :-1])
        found = features(model, PIXELS, layer)
        assert rel_l2(found, expected) <= limit("model", "f64", LAYERS)
        if layer != LAYERS:
            assert rel_l2(found, default) > limit("model", "f64", LAYERS)


def test_every_patch_sees_its_whole_tile_and_no_other_tile(model):
    expected = features(model, PIXELS)
    moved = PIXELS.at[0, :, -1, -1].add(3.0)  # in the last patch
    found = features(model, moved)
    assert all((np.asarray(found[0]) != np.asarray(expected[0])).any(axis=-1))
    np.testing.assert_array_equal(found[1:], expected[1:])
    assert rel_l2(features(model, PIXELS[1:2]), expected[1:2]) <= limit("model", "f64", LAYERS)


def test_pixels_that_are_no_numbers_reach_every_feature_of_their_tile(model):
    found = features(model, PIXELS.at[1, 0, 0, 0].set(jnp.nan))
    assert np.isnan(found[1]).all()
    assert np.isfinite(np.delete(np.asarray(found), 1, axis=0)).all()


@pytest.mark.parametrize("role", ["norm", "rope", "softmax", "activation"])
def test_every_role_is_read_and_changes_no_dtype_but_its_own(role, model, hf_multimodal):
    coarse = build(hf_multimodal, numerics=dataclasses.replace(FLOAT64, **{role: "bfloat16"}))
    found, expected = features(coarse, PIXELS), features(model, PIXELS)
    assert found.dtype == expected.dtype == FLOAT64.compute
    assert (np.asarray(found) != np.asarray(expected)).any()


def test_in_bfloat16_the_features_are_bfloat16_and_near(model, hf_multimodal):
    numerics = Numerics.like_hf("bfloat16")
    found = features(build(hf_multimodal, numerics=numerics), PIXELS)
    assert found.dtype == numerics.compute
    assert rel_l2(np.asarray(found, float), features(model, PIXELS)) <= limit("model", "bf16", LAYERS)


def test_jit_changes_rounding_only(model):
    assert rel_l2(model(PIXELS).last_hidden_state, features(model, PIXELS)) <= limit("model", "f64", LAYERS)


def outputs_and_gradients(tower: Llama4VisionModel) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    graph, weights, rest = nnx.split(tower, nnx.Param, ...)

    def run(weights):
        out = nnx.merge(graph, weights, rest)(PIXELS, output_attentions=True, output_hidden_states=True)
        return jnp.sum(jnp.square(out.last_hidden_state)), out

    gradients, out = jax.jit(jax.grad(run, has_aux=True), compiler_options=QUICK)(weights)
    return jax.tree.leaves(out), to_state_dict(nnx.merge(graph, gradients, rest))


@pytest.fixture(scope="module")
def plain(model) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    return outputs_and_gradients(model)


@pytest.mark.parametrize(
    "option", [{"scan_layers": True}, {"remat_policy": "nothing_saveable"}], ids=["scanned", "recomputed"]
)
def test_scanned_and_recomputed_layers_give_the_same_values_and_gradients(option, plain, hf_multimodal):
    weights = under("weights/vision_model.", hf_multimodal["square"])
    outputs, gradients = outputs_and_gradients(
        Llama4VisionModel.from_state_dict(SQUARE, weights, numerics=FLOAT64, **option)
    )
    drifts = {f"output {i}": rel_l2(*pair) for i, pair in enumerate(zip(outputs, plain[0], strict=True))}
    assert gradients.keys() == plain[1].keys()
    drifts |= {name: rel_l2(value, plain[1][name]) for name, value in gradients.items()}
    assert over(drifts, limit("model", "f64", LAYERS)) == {}


def test_the_tower_is_its_own_encoder_and_decodes_nothing(model):
    assert model.get_encoder() is model
    assert model.get_embedding() is model.patch_embedding
    with pytest.raises(NotImplementedError, match="Llama4VisionModel is encoder-only: it has no decoder"):
        model.get_decoder()
    with pytest.raises(NotImplementedError, match="Llama4VisionModel has no head"):
        model.get_lm_head()


TILES = "pixel_values: expected a non-empty (tiles, 3, 16, 16), got "
WRONG = [
    (
        {"pixel_values": PIXELS[None]},
        "pixel_values: expected tiles (tiles, 3, 16, 16), got (1, 6, 3, 16, 16); several images, or the frames of a "
        "video, are tiles one after another: reshape to one leading axis",
    ),
    ({"pixel_values": PIXELS[0]}, f"{TILES}(3, 16, 16)"),
    ({"pixel_values": PIXELS[:0]}, f"{TILES}(0, 3, 16, 16)"),
    ({"pixel_values": PIXELS[:, :1]}, f"{TILES}(6, 1, 16, 16)"),
    ({"pixel_values": PIXELS[..., :-1]}, f"{TILES}(6, 3, 16, 15)"),
    # 2 × 8 patches, as many as 4 × 4: HF computes with the positions of the square.
    ({"pixel_values": PIXELS.reshape(6, 3, 8, 32)}, f"{TILES}(6, 3, 8, 32)"),
    # As many patches as the square, after the cut.
    ({"pixel_values": jnp.pad(PIXELS, ((0, 0), (0, 0), (0, 1), (0, 1)))}, f"{TILES}(6, 3, 17, 17)"),
    (
        {"pixel_values": PIXELS.astype("uint8")},
        "pixel_values: expected floating values, rescaled and normalized, got uint8",
    ),
    ({"pixel_values": PIXELS, "feature_layer": LAYERS + 1}, "feature_layer: expected a number from -4 to 3, got 4"),
    ({"pixel_values": PIXELS, "feature_layer": -LAYERS - 2}, "feature_layer: expected a number from -4 to 3, got -5"),
    ({"pixel_values": PIXELS, "feature_layer": 1.0}, "feature_layer: expected a number from -4 to 3, got 1.0"),
    ({"pixel_values": "photo.jpg"}, "pixel_values: expected an array, got str"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_refused(model, arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model(**arguments)
