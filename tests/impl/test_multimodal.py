"""The multimodal model's own rules: where features go, what a count that does not fit gives, caches, text alone."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from drifts import over, rel_l2
from flax import nnx
from impl_cases import under
from multimodal_candidate import FLOAT64, arguments, build, drifts_by_row, inside

from jax_llama4 import (
    InsertMetadata,
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4ImageMerge,
    Llama4TextModel,
    Llama4VisionModel,
    PagePool,
)

from limits import limit

CASE = "square"
PROMPT = cases.PROMPTS[CASE]
CONFIG = Llama4Config.from_dict(cases.CONFIGS[CASE])
INPUTS = arguments(PROMPT)
TEXT = arguments(PROMPT, without="pixel_values")
IDS, PIXELS = INPUTS["input_ids"], INPUTS["pixel_values"]
TILES = len(PIXELS)
PER_TILE = CONFIG.vision_config.tokens_per_tile
ALLOWED = limit("model", "f64", CONFIG.text_config.num_hidden_layers + CONFIG.vision_config.num_hidden_layers)
ROW = {name: i for i, name in enumerate(PROMPT.rows)}


@pytest.fixture(scope="module")
def model(hf_multimodal) -> Llama4ForConditionalGeneration:
    return build(CASE, hf_multimodal)


@pytest.fixture(scope="module")
def expected(hf_multimodal) -> np.ndarray:
    return hf_multimodal[CASE]["logits"]


get_image_features = nnx.jit(Llama4ForConditionalGeneration.get_image_features)


@nnx.jit
def call(model, inputs, cache=None, metadata=None):
    return model(**inputs, past_key_values=cache, cache_metadata=metadata)


def test_features_fill_the_places_row_by_row_whatever_each_row_has():
    embeds, features = jnp.zeros((2, 3, 2)), jnp.arange(1.0, 7.0).reshape(3, 2)
    mask = jnp.array([[False, True, False], [True, False, True]])
    found = Llama4ImageMerge()(embeds, features, mask)
    assert found.tolist() == [[[0, 0], [1, 2], [0, 0]], [[3, 4], [0, 0], [5, 6]]]


def test_the_merged_embeddings_have_an_address_and_text_keeps_its_own(model):
    merged = np.asarray(inside(model, INPUTS, "image_merge"))
    places = np.asarray(IDS == cases.IMAGE_TOKEN)
    np.testing.assert_array_equal(merged[~places], np.asarray(model.get_embedding()(IDS))[~places])
    features = get_image_features(model, PIXELS)
    projected = model.project_image_features(features)
    assert projected.shape == (TILES, PER_TILE, CONFIG.text_config.hidden_size)
    assert rel_l2(merged[places], projected.reshape(-1, projected.shape[-1])) <= ALLOWED


def test_features_made_before_stand_in_for_pixels_and_come_back_unprojected(model):
    features = get_image_features(model, PIXELS)
    assert features.shape == (TILES, PER_TILE, CONFIG.vision_config.vision_output_dim)
    expected = call(model, INPUTS)
    np.testing.assert_array_equal(expected.image_hidden_states, features)
    found = call(model, TEXT | {"image_features": features})
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.image_hidden_states, features)


def test_tiles_go_to_their_prompts_in_order(model, expected):
    swapped = INPUTS | {"pixel_values": PIXELS[jnp.array([1, 0, 2, 3, 4, 5])]}
    drifts = drifts_by_row(PROMPT, call(model, swapped).logits, expected)
    assert drifts.pop("one image of two tiles") > ALLOWED
    assert over(drifts, ALLOWED) == {}


def test_frames_of_a_video_are_tiles(model):
    video = PIXELS.reshape(1, TILES, *PIXELS.shape[1:])  # (videos, frames, channels, height, width)
    with pytest.raises(ValueError, match="several images, or the frames of a video, are tiles one after another"):
        model(IDS, video)
    assert model._supports_video and not model._uses_mrope
    frames = [get_image_features(model, frame[None]) for frame in video[0]]
    together = get_image_features(model, video.reshape(-1, *video.shape[2:]))
    assert rel_l2(jnp.concatenate(frames), together) <= ALLOWED


def test_text_alone_is_the_language_models_bit_for_bit(model, hf_multimodal):
    weights = under("weights/language_model.", hf_multimodal[CASE])
    text = Llama4ForCausalLM.from_state_dict(CONFIG.text_config, weights, numerics=FLOAT64)
    inputs = TEXT | {"labels": jnp.asarray(PROMPT.labels)}
    run = nnx.jit(lambda model, inputs: model(**inputs, output_hidden_states=True, output_router_logits=True))
    found, expected = run(model, inputs), run(text, inputs)
    assert found.image_hidden_states is None
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_labels_at_image_places_count_unless_they_say_otherwise(model):
    labels = jnp.asarray(PROMPT.labels)
    hidden = jnp.where(IDS == cases.IMAGE_TOKEN, -100, labels)
    out = nnx.jit(lambda model, labels: model(**INPUTS, labels=labels))
    found = {name: out(model, given) for name, given in (("all", labels), ("text", hidden))}
    assert abs(float(found["all"].loss - found["text"].loss)) > ALLOWED
    probabilities = jax.nn.log_softmax(found["text"].logits[:, :-1], axis=-1)
    counted = np.argwhere(np.asarray(hidden)[:, 1:] != -100)
    terms = [probabilities[row, slot, hidden[row, slot + 1]] for row, slot in counted]
    assert abs(float(found["text"].loss) + np.mean(terms)) <= limit("sum", "f64", len(terms)) * np.sum(np.abs(terms))


def test_layers_scanned_and_recomputed_give_the_same(hf_multimodal, expected):
    stacked = build(CASE, hf_multimodal, scan_layers=True, remat_policy="nothing_saveable")
    assert len(stacked.vision_model.model.layers) == 1
    assert over(drifts_by_row(PROMPT, call(stacked, INPUTS).logits, expected), ALLOWED) == {}


def test_images_in_pages_beside_text(model, expected):
    """Two sequences with images and one without, mixed into one row of tokens; then a step of each."""
    rows, lengths = [ROW[name] for name in ("two images", "text only", "one image of two tiles")], (22, 9, 17)
    pool, cache = PagePool(20, 4, rows=3, pages_per_row=7), model.init_ragged_pages(20, 4)
    flat = np.concatenate([PROMPT.input_ids[row, :length] for row, length in zip(rows, lengths, strict=True)])[None]
    pixels = PIXELS[jnp.array([2, 3, 0, 1])]
    inputs = {"input_ids": jnp.asarray(flat), "pixel_values": pixels}
    prompts = call(model, inputs, cache, pool.step(lengths))
    parts = np.split(np.asarray(prompts.logits)[0], np.cumsum(lengths)[:-1])
    nexts = np.array([PROMPT.input_ids[row, length] for row, length in zip(rows, lengths, strict=True)])[None]
    metadata = pool.step([1, 1, 1], most_new_tokens=1)
    steps = call(model, {"input_ids": jnp.asarray(nexts)}, prompts.past_key_values, metadata)
    drifts = {}
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        name = PROMPT.rows[row]
        drifts[f"{name}, prompt"] = rel_l2(parts[i], expected[row, :length])
        drifts[f"{name}, step"] = rel_l2(steps.logits[0, i], expected[row, length])
    assert over(drifts, ALLOWED) == {}


def test_a_prompt_with_images_is_inserted_into_a_running_cache(model, expected):
    row, length = ROW["two images"], 22
    text = {"input_ids": IDS[ROW["text only"]][None, :5].repeat(2, axis=0)}
    running = call(model, text, model.init_cache(2, 30))
    new = {"input_ids": IDS[row : row + 1, :length], "pixel_values": PIXELS[2:4]}
    found = call(model, new, running.past_key_values, InsertMetadata(jnp.array([1])))
    step = jnp.stack([IDS[ROW["text only"], 5], IDS[row, length]])[:, None]
    after = call(model, {"input_ids": step}, found.past_key_values)
    drifts = {
        "inserted": rel_l2(found.logits[0], expected[row, :length]),
        "its step": rel_l2(after.logits[1, 0], expected[row, length]),
    }
    drifts["the row that was there"] = rel_l2(after.logits[0, 0], expected[ROW["text only"], 5])
    assert over(drifts, ALLOWED) == {}


@pytest.mark.parametrize("change", [-1, 1])
def test_a_compiled_program_gives_nan_where_images_do_not_fit(model, change):
    """Nothing can be raised there; a tile too few or too many must not look like an answer."""
    pixels = PIXELS[:change] if change < 0 else jnp.concatenate([PIXELS, PIXELS[:1]])
    assert np.isnan(call(model, INPUTS | {"pixel_values": pixels}).logits).all()


def test_its_parts_have_names(model):
    assert model.get_encoder() is model.vision_model
    assert model.get_decoder() is model.language_model.model
    assert model.get_lm_head() is model.language_model.lm_head
    assert model.get_embedding() is model.language_model.model.embed_tokens


TOKENS = TILES * PER_TILE
EMBEDS = jnp.zeros((*IDS.shape, CONFIG.text_config.hidden_size))
FEATURES = jnp.zeros((TILES, PER_TILE, CONFIG.vision_config.vision_output_dim))
FIT = "image tokens and image features do not match: "
BESIDE = "; give image_features of get_image_features instead"
WRONG = [
    (
        {"input_ids": None, "inputs_embeds": EMBEDS},
        f"pixel_values: given beside inputs_embeds{BESIDE}",
    ),
    ({"image_features": FEATURES}, f"pixel_values: given beside image_features{BESIDE}"),
    (
        {"input_ids": None, "pixel_values": None},
        "expected exactly one of input_ids and inputs_embeds, got neither",
    ),
    (
        {"inputs_embeds": EMBEDS, "pixel_values": None},
        f"expected exactly one of input_ids and inputs_embeds, got both, {IDS.shape} and {EMBEDS.shape}",
    ),
    ({"input_ids": IDS[2:3], "pixel_values": PIXELS[:1]}, f"{FIT}0 tokens, {PER_TILE} features"),
    ({"pixel_values": PIXELS[:-1]}, f"{FIT}{TOKENS} tokens, {TOKENS - PER_TILE} features"),
    ({"input_ids": IDS.at[0, 3].set(1)}, f"{FIT}{TOKENS - 1} tokens, {TOKENS} features"),
    (
        {"pixel_values": None, "image_features": FEATURES[:-1]},
        f"{FIT}{TOKENS} tokens, {TOKENS - PER_TILE} features",
    ),
    (
        {"pixel_values": None, "image_features": FEATURES[:, :-1]},
        f"image_features: expected a non-empty floating (tiles, 4, 22), got ({TILES}, {PER_TILE - 1}, 22) of float64",
    ),
    (
        {"vision_feature_select_strategy": "full"},
        "vision_feature_select_strategy: expected 'default', got 'full'; with the class token the patches make no "
        "square for the adapter",
    ),
    ({"vision_feature_layer": 4}, "feature_layer: expected a number from -4 to 3, got 4"),
    (
        {"vision_feature_layer": 1, "pixel_values": None},
        "vision_feature_layer: 1 asked for without pixel_values to encode",
    ),
    (
        {"vision_feature_select_strategy": "full", "pixel_values": None},
        "vision_feature_select_strategy: expected 'default', got 'full'; with the class token the patches make no "
        "square for the adapter",
    ),
    (
        {"pixel_values": None, "image_features": jnp.zeros((0, PER_TILE, 22))},
        "image_features: expected a non-empty floating (tiles, 4, 22), got (0, 4, 22) of float64",
    ),
    (
        {"pixel_values": None, "image_features": jnp.zeros((TILES, PER_TILE, 22), int)},
        f"image_features: expected a non-empty floating (tiles, 4, 22), got ({TILES}, 4, 22) of int64",
    ),
    ({"pixel_values": PIXELS[0]}, "pixel_values: expected a non-empty (tiles, 3, 16, 16), got (3, 16, 16)"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_refused(model, changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model(**{"input_ids": IDS, "pixel_values": PIXELS} | changes)


def test_the_feature_layer_reaches_the_tower(model):
    run = nnx.jit(lambda model: model(**INPUTS, vision_feature_layer=1).image_hidden_states)
    tower = nnx.jit(lambda model: model.vision_model(PIXELS, feature_layer=1).last_hidden_state)
    np.testing.assert_array_equal(run(model), tower(model))


def test_an_image_token_beyond_the_vocabulary_is_replaced_like_any_other(model, hf_multimodal, expected):
    config = dataclasses.replace(CONFIG, image_token_index=1000)
    weights = under("weights/", hf_multimodal[CASE])
    other = Llama4ForConditionalGeneration.from_state_dict(config, weights, numerics=FLOAT64)
    ids = jnp.where(IDS == cases.IMAGE_TOKEN, 1000, IDS)
    drifts = drifts_by_row(PROMPT, call(other, INPUTS | {"input_ids": ids}).logits, expected)
    assert over(drifts, ALLOWED) == {}


@pytest.mark.parametrize(
    ("model_class", "config", "message"),
    [
        (Llama4ForConditionalGeneration, CONFIG.text_config, "a Llama4Config, got a Llama4TextConfig"),
        (Llama4ForCausalLM, CONFIG, "a Llama4TextConfig, got a Llama4Config"),
        (Llama4TextModel, CONFIG, "a Llama4TextConfig, got a Llama4Config"),
        (Llama4VisionModel, CONFIG, "a Llama4VisionConfig, got a Llama4Config"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_configuration_of_another_class_is_refused(model_class, config, message):
    with pytest.raises(TypeError, match=f"^{model_class.__name__}: expected {message}$"):
        model_class(config, rngs=nnx.Rngs(0))
