"""Rope: the published counts of scaled pairs, interleaved rotation, and tables that no dtype of the weights reaches."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_llama4 import Llama4TextConfig, Llama4TextRotaryEmbedding, Numerics, RopeParameters, apply_rotary_emb
from jax_llama4.rope import inverse_frequencies

from limits import limit

FLOAT64 = Numerics.uniform("float64")
PLAIN = RopeParameters()


def llama3(factor: float, high: float) -> RopeParameters:
    return RopeParameters(
        rope_type="llama3",
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=high,
        original_max_position_embeddings=8192,
    )


def test_default_frequencies_are_powers_of_theta():
    found = inverse_frequencies(RopeParameters(rope_theta=10000.0), 4, np.dtype("float64"))
    np.testing.assert_allclose(found, [1.0, 0.01], rtol=limit("transcendental", "f64"))


@pytest.mark.parametrize(
    ("factor", "high", "unchanged", "smoothed", "divided"), [(8.0, 4.0, 29, 6, 29), (16.0, 1.0, 35, 0, 29)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_llama3_scaling_sorts_128_wide_heads_as_published(factor, high, unchanged, smoothed, divided, dtype):
    with np.errstate(all="raise"):  # the empty band of 16/1 must not divide by zero
        scaled = inverse_frequencies(llama3(factor, high), 128, np.dtype(dtype))
    plain = inverse_frequencies(PLAIN, 128, np.dtype(dtype))
    is_unchanged, is_divided = scaled == plain, scaled == plain / plain.dtype.type(factor)
    assert scaled.dtype == dtype
    assert (is_unchanged.sum(), is_divided.sum()) == (unchanged, divided)
    assert (~is_unchanged & ~is_divided).sum() == smoothed
    assert is_unchanged[:unchanged].all() and is_divided[-divided:].all()


def test_smoothing_of_one_pair_by_hand():
    # theta 4, two pairs: 1 and 1/2 radians per position; the wavelength of the second is 4π.
    rope = RopeParameters(4.0, "llama3", 8.0, 1.0, 4.0, 32)
    weight = (32 / (4 * np.pi) - 1) / 3
    expected = [1.0, (1 - weight) * 0.5 / 8 + weight * 0.5]
    found = inverse_frequencies(rope, 4, np.dtype("float64"))
    np.testing.assert_allclose(found, expected, rtol=limit("transcendental", "f64"))


def test_table_holds_cos_and_sin_of_position_times_frequency():
    rotary = Llama4TextRotaryEmbedding(Llama4TextConfig(head_dim=8), FLOAT64)
    positions = np.array([[0, 1, 9000], [3, 2, 1]])
    angles = positions[..., None] * rotary.inv_freq
    found = np.asarray(rotary(jnp.asarray(positions)))
    assert found.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(found[..., 0], np.cos(angles), atol=limit("transcendental", "f64"), rtol=0)
    np.testing.assert_allclose(found[..., 1], np.sin(angles), atol=limit("transcendental", "f64"), rtol=0)


def test_table_stays_in_the_rope_dtype_whatever_the_weights_are():
    rotary = Llama4TextRotaryEmbedding(Llama4TextConfig(head_dim=8), Numerics.like_hf("bfloat16"))
    assert rotary(jnp.array([[257]])).dtype == rotary.numerics.rope
    assert rotary.inv_freq.dtype == rotary.numerics.rope


def test_rotation_turns_neighbouring_pairs():
    quarter = jnp.array([0.0, 1.0])  # cos and sin of a right angle
    still = jnp.array([1.0, 0.0])
    frequencies = jnp.stack([quarter, still])[None, None]
    found = apply_rotary_emb(jnp.array([[[[1.0, 2.0, 3.0, 4.0]]]]), frequencies, FLOAT64)
    np.testing.assert_array_equal(found, [[[[-2.0, 1.0, 3.0, 4.0]]]])
