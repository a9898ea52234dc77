"""Generation from prompts with images against HF's own: padded rows, a row without images, refusals before any work."""

import dataclasses
import re

import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from compiling import compilations
from flax import nnx
from impl_cases import under
from multimodal_candidate import build

from jax_llama4 import Llama4ForCausalLM, Llama4ForConditionalGeneration, Numerics, generation

FLOAT32 = Numerics.like_hf("float32")
N, PAD = cases.NEW_TOKENS, cases.PAD
CASE = "square"
PROMPT = cases.CONTINUED[CASE]
IDS, MASK, PIXELS = PROMPT.input_ids, PROMPT.attention_mask, PROMPT.pixel_values.astype("float32")
T = IDS.shape[1]


@pytest.fixture(scope="module")
def models(hf_multimodal) -> dict[str, Llama4ForConditionalGeneration]:
    return {name: build(name, hf_multimodal, FLOAT32) for name in cases.GENERATED}


@pytest.fixture(scope="module")
def model(models) -> Llama4ForConditionalGeneration:
    return models[CASE]


def run(model, ids=IDS, mask=MASK, pixel_values=PIXELS, **changes):
    return model.generate(
        ids,
        mask,
        **{"max_new_tokens": N, "eos_token_id": (), "pad_token_id": PAD, "pixel_values": pixel_values} | changes,
    )


def new_tokens(out) -> list[list[int]]:
    return np.asarray(out.sequences)[:, T:].tolist()


@pytest.mark.parametrize("case", cases.GENERATED)
def test_greedy_tokens_equal_hfs(case, models, hf_multimodal):
    prompt = cases.CONTINUED[case]
    pixels = prompt.pixel_values.astype("float32")
    out = run(models[case], prompt.input_ids, prompt.attention_mask, pixels)
    assert new_tokens(out) == hf_multimodal[case]["greedy"].tolist()
    np.testing.assert_array_equal(out.sequences[:, :T], prompt.input_ids)


def test_two_programs_serve_all_images_of_one_number(model, hf_multimodal):
    expected = hf_multimodal[CASE]["greedy"].tolist()
    noise = cases.draw_pixels(np.random.default_rng(0), cases.VISION[CASE], len(PIXELS)).astype("float32")
    run(model)
    with compilations() as steps:
        other = run(model, pixel_values=noise)
    assert steps == []
    # The row without images goes on as before.
    found, text = new_tokens(other), PROMPT.rows.index("padding, then text")
    assert found[text] == expected[text]
    assert all(found[row] != expected[row] for row in range(len(found)) if row != text)


def test_text_alone_goes_on_as_the_language_model_does(model, hf_multimodal):
    weights = under("weights/language_model.", hf_multimodal[CASE])
    text = Llama4ForCausalLM.from_state_dict(model.config.text_config, weights, numerics=FLOAT32)
    ids = np.where(IDS == cases.IMAGE_TOKEN, 7, IDS)
    assert new_tokens(run(model, ids, pixel_values=None)) == new_tokens(run(text, ids, pixel_values=None))


@nnx.jit
def call(model, ids, arguments):
    out = model(ids, **arguments)
    return out.replace(logits=None), jnp.argmax(out.logits[:, -1:], axis=-1)


def test_step_by_step_the_pixels_go_into_the_first_call_only(model, hf_multimodal):
    ids, found = jnp.asarray(IDS), []
    arguments = model.prepare_inputs_for_generation(
        ids, T + 3, PAD, pixel_values=jnp.asarray(PIXELS), attention_mask=jnp.asarray(MASK)
    )
    assert set(arguments) == {"past_key_values", "attention_mask", "position_ids", "pixel_values"}
    np.testing.assert_array_equal(arguments["position_ids"], PROMPT.position_ids)
    for _ in range(3):
        outputs, ids = call(model, ids, arguments)
        found.append(ids)
        arguments = model.update_inputs_for_generation(outputs, arguments)
        assert "pixel_values" not in arguments
    assert jnp.concatenate(found, axis=1).tolist() == hf_multimodal[CASE]["greedy"][:, :3].tolist()


def test_features_that_were_kept_serve_like_the_pixels(model, hf_multimodal):
    expected = hf_multimodal[CASE]["greedy"].tolist()
    features = model.get_image_features(jnp.asarray(PIXELS))
    assert new_tokens(run(model, pixel_values=None, image_features=features)) == expected
    arguments = model.prepare_inputs_for_generation(
        jnp.asarray(IDS), T + 1, PAD, image_features=features, attention_mask=jnp.asarray(MASK)
    )
    outputs, first = call(model, jnp.asarray(IDS), arguments)
    assert first.tolist() == [[row[0]] for row in expected]
    assert not {"image_features", "pixel_values"} & set(model.update_inputs_for_generation(outputs, arguments))


def test_a_list_of_tiles_is_an_array(model, hf_multimodal):
    assert new_tokens(run(model, pixel_values=list(PIXELS))) == hf_multimodal[CASE]["greedy"].tolist()


def test_an_image_token_of_0_is_not_what_a_bucket_is_filled_with(model, hf_multimodal):
    # The same model but for the two embeddings, which change places with the ids.
    config = dataclasses.replace(model.config, image_token_index=0)
    weights = under("weights/", hf_multimodal[CASE])
    table = "language_model.model.embed_tokens.weight"
    order = np.arange(len(weights[table]))
    order[[0, cases.IMAGE_TOKEN]] = order[[cases.IMAGE_TOKEN, 0]]
    swapped = weights | {table: weights[table][order]}
    other = Llama4ForConditionalGeneration.from_state_dict(config, swapped, numerics=FLOAT32)
    found = new_tokens(run(other, order[IDS], pad_token_id=cases.BOI))
    assert [row[0] for row in found] == [row[0] for row in hf_multimodal[CASE]["greedy"].tolist()]


def test_without_images_there_are_no_pixels_to_prepare(model):
    arguments = model.prepare_inputs_for_generation(jnp.asarray(IDS), T + 1, PAD)
    assert set(arguments) == {"past_key_values", "attention_mask", "position_ids"}


class Unreadable:
    """As a torch tensor of bfloat16 is to NumPy."""

    def __array__(self, *_, **__):
        raise TypeError("no such dtype")


FIT = "image tokens and image features do not match: 20 tokens, "
NOTHING = jnp.zeros((0, 4, 22))
WRONG = [
    (
        {"pixel_values": Unreadable()},
        "pixel_values: expected an array, got Unreadable, of which NumPy says: no such dtype",
    ),
    (
        {"pixel_values": [PIXELS[0], PIXELS[0, :1]]},
        "pixel_values: expected an array, got list, of which NumPy says: setting an array element with a sequence. The "
        "requested array has an inhomogeneous shape after 1 dimensions. The detected shape was (2,) + inhomogeneous "
        "part.",
    ),
    (
        {"pixel_values": None, "image_features": NOTHING},
        "image_features: expected a non-empty floating (tiles, 4, 22), got (0, 4, 22) of float64",
    ),
    ({"image_features": NOTHING}, "expected one of pixel_values and image_features"),
    ({"pixel_values": PIXELS[:-1]}, f"{FIT}16 features"),
    ({"pixel_values": np.concatenate([PIXELS, PIXELS[:1]])}, f"{FIT}24 features"),
    ({"pixel_values": PIXELS[:, :1]}, "pixel_values: expected a non-empty (tiles, 3, 16, 16), got (5, 1, 16, 16)"),
    (
        {"pixel_values": PIXELS[None]},
        "pixel_values: expected tiles (tiles, 3, 16, 16), got (1, 5, 3, 16, 16); several images, or the frames of a "
        "video, are tiles one after another: reshape to one leading axis",
    ),
    (
        {"pixel_values": PIXELS.astype("uint8")},
        "pixel_values: expected floating values, rescaled and normalized, got uint8",
    ),
    ({"mask": MASK[:, ::-1]}, "attention_mask: row 1 ends in padding; generation needs it on the left"),
]


def refuse_to_compute(*_):
    raise AssertionError("something was computed")


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_refused_before_anything_is_computed(model, changes, message, monkeypatch):
    monkeypatch.setattr(generation, "_programs", refuse_to_compute)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(model, **changes)


def test_a_text_model_takes_no_pixels(model):
    with pytest.raises(ValueError, match=r"^pixel_values: Llama4ForCausalLM takes text only$"):
        run(model.language_model)
