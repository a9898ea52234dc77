"""Attention: temperature at its published steps, key heads shared by neighbours, rows that see nothing, taps."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_llama4 import (
    Llama4TextAttention,
    Llama4TextConfig,
    Llama4TextMasks,
    Llama4TextRotaryEmbedding,
    MaskInfo,
    Numerics,
    TransformerCache,
)
from jax_llama4.attention import attention_temperature

from limits import limit

FLOAT64 = Numerics.uniform("float64")
CONFIG = Llama4TextConfig(
    hidden_size=12, num_attention_heads=4, num_key_value_heads=2, head_dim=4, num_hidden_layers=4, floor_scale=2
)
ROPE, NO_ROPE = 0, 3


@nnx.jit
def call(module, *arguments, **named):
    return module(*arguments, **named)


def attend(layer_idx: int, mask, numerics=FLOAT64):
    length = 4
    module = Llama4TextAttention(CONFIG, layer_idx, numerics=numerics, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, length, 12)), dtype=numerics.compute)
    turns = jnp.ones((1, length, 2, 2), dtype=numerics.rope)
    run = nnx.capture(call, nnx.Intermediate, method_outputs=nnx.Intermediate)
    out, taps = run(module, x, mask, frequencies=turns)
    return out.attention_output, {
        path[0]: value.get_value() for path, value in nnx.to_flat_state(taps) if len(path) == 2
    }


def causal():
    return jnp.tril(jnp.ones((1, 4, 4), dtype=bool))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_temperature_is_one_up_to_the_floor_and_then_steps(dtype):
    slots = jnp.array([0, 8190, 8191, 16382, 16383])
    found = attention_temperature(slots, 8192, 0.1, Numerics.like_hf(dtype))
    assert found.dtype == dtype
    assert [f"{value:.4f}" for value in np.asarray(found)] == ["1.0000", "1.0000", "1.0693", "1.0693", "1.1099"]


def test_taps_of_a_rope_layer():
    _, taps = attend(ROPE, causal())
    shapes = {name: values[0].shape for name, values in taps.items() if name.startswith("tap")}
    queries, keys, probs = (1, 4, 4, 4), (1, 4, 2, 4), (1, 4, 4, 4)
    assert shapes == {
        "tap_q_rope": queries,
        "tap_k_rope": keys,
        "tap_query": queries,
        "tap_key": keys,
        "tap_probs": probs,
    }
    normed_query, normed_key = taps["qk_norm"]
    np.testing.assert_array_equal(normed_query, taps["tap_query"][0])
    np.testing.assert_array_equal(normed_key, taps["tap_key"][0])


def test_taps_of_a_layer_without_rope():
    _, taps = attend(NO_ROPE, causal())
    assert {name for name in taps if not name.endswith("proj")} == {"tap_query", "tap_key", "tap_probs"}
    query = taps["q_proj"][0].reshape(1, 4, 4, 4)
    steps = attention_temperature(jnp.arange(4), 2, CONFIG.attn_scale, FLOAT64)
    np.testing.assert_array_equal(taps["tap_query"][0], query * steps[None, :, None, None])
    np.testing.assert_array_equal(taps["tap_key"][0], taps["k_proj"][0].reshape(1, 4, 2, 4))


def test_a_key_head_serves_consecutive_query_heads():
    _, taps = attend(NO_ROPE, causal())
    query, key = np.asarray(taps["tap_query"][0])[0], np.asarray(taps["tap_key"][0])[0]
    probs = np.asarray(taps["tap_probs"][0])[0]
    for head, key_head in enumerate([0, 0, 1, 1]):
        scores = query[3, head] @ key[:, key_head].T / 2
        assert np.argsort(scores).tolist() == np.argsort(probs[head, 3]).tolist()


@pytest.mark.parametrize(
    ("layer_idx", "dtype"), [(ROPE, "float64"), (NO_ROPE, "float64"), (ROPE, "bfloat16"), (ROPE, "float16")]
)
def test_a_row_that_sees_nothing_spreads_over_all_keys(layer_idx, dtype):
    numerics = Numerics.like_hf(dtype)
    out, taps = attend(layer_idx, jnp.zeros((1, 4, 4), dtype=bool), numerics)
    assert out.dtype == dtype
    assert np.isfinite(np.asarray(out, dtype="float64")).all()
    np.testing.assert_array_equal(taps["tap_probs"][0], jnp.full((1, 4, 4, 4), 0.25, dtype=numerics.compute))


def test_masked_keys_get_no_weight():
    _, taps = attend(ROPE, causal())
    probs = np.asarray(taps["tap_probs"][0])
    assert (probs[..., ~np.asarray(causal())[0]] == 0).all()


def layer(layer_idx: int) -> Llama4TextAttention:
    return Llama4TextAttention(CONFIG, layer_idx, numerics=FLOAT64, rngs=nnx.Rngs(0))


def hidden(length: int = 4):
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, length, 12)))


@pytest.mark.parametrize("layer_idx", [ROPE, NO_ROPE])
def test_alone_it_makes_its_own_mask_rotations_and_slots(layer_idx):
    real = jnp.array([[0, 1, 1, 1], [1, 1, 1, 1]])
    masks = Llama4TextMasks(CONFIG)(real.astype(bool), jnp.arange(4))
    turns = Llama4TextRotaryEmbedding(CONFIG, FLOAT64)(jnp.tile(jnp.arange(4), (2, 1)))
    expected = layer(layer_idx)(
        hidden(), MaskInfo(masks=masks), frequencies=turns, query_slots=jnp.arange(4), output_attentions=True
    )
    found = layer(layer_idx)(hidden(), real, output_attentions=True)
    np.testing.assert_array_equal(found.attention_output, expected.attention_output)
    np.testing.assert_array_equal(found.attention_weight, expected.attention_weight)
    assert found.cache_view is None and layer(layer_idx)(hidden()).attention_weight is None


@pytest.mark.parametrize("layer_idx", [ROPE, NO_ROPE])
def test_alone_it_fills_a_view(layer_idx):
    cache = TransformerCache.init_cache(CONFIG, 2, 6, dtype=FLOAT64.compute)
    x, outputs, view, metadata = hidden(5), [], cache.views[layer_idx], cache.metadata
    for piece in (x[:, :3], x[:, 3:4], x[:, 4:]):
        metadata = metadata.append(piece.shape[1])
        out = layer(layer_idx)(piece, cache_view=view, cache_metadata=metadata)
        outputs.append(out.attention_output)
        view = out.cache_view
    expected = layer(layer_idx)(x).attention_output
    drift = np.linalg.norm(np.concatenate(outputs, axis=1) - expected) / np.linalg.norm(expected)
    assert drift <= limit("block", "f64")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alibi": jnp.ones((1, 4, 4, 4))}, "alibi: Llama 4 has no such bias, expected None"),
        ({"mask_info": jnp.ones((4,))}, "mask_info: expected (B, S) or (B, T, S), got (4,)"),
        ({"mask_info": MaskInfo(masks={})}, "mask_info: no mask for chunked_attention, only "),
        ({"cache_view": "any"}, "cache_view: given without the cache_metadata that counts the new tokens"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        layer(ROPE)(hidden(), **arguments)
    assert str(caught.value) == message
