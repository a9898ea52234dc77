"""Rotary position embedding: inverse frequencies, tables of cos and sin for text and patches, the rotation of pairs."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_rope import RopeParameters
from jax_llama4.config_vision import Llama4VisionConfig
from jax_llama4.precision import Numerics


def inverse_frequencies(rope: RopeParameters, head_dim: int, dtype: np.dtype) -> np.ndarray:
    """Radians per position of each of the head_dim / 2 pairs, shape (R,).

    Every step rounds to `dtype`, so in float32 the table equals torch's bit for bit. The power is Python's, rounded
    once: float32 powers of jnp, and of NumPy where it has AVX-512, are off by some units in the last place.
    """
    exponents = np.arange(0, head_dim, 2).astype(dtype) / dtype.type(head_dim)
    powers = np.array([rope.rope_theta ** float(exponent) for exponent in exponents]).astype(dtype)
    inv_freq = dtype.type(1) / powers
    if rope.rope_type == "llama3":
        inv_freq = _stretch_slow_pairs(inv_freq, rope)
    return inv_freq


def _stretch_slow_pairs(inv_freq: np.ndarray, rope: RopeParameters) -> np.ndarray:
    """Slow down the pairs whose wavelength is long against the pretraining context, with a smooth band between.

    Source: `llama3` in HF's modeling_rope_utils.
    """
    scalar = inv_freq.dtype.type
    factor, low, high = scalar(rope.factor), scalar(rope.low_freq_factor), scalar(rope.high_freq_factor)
    context = scalar(rope.original_max_position_embeddings)
    wavelength = scalar(2 * math.pi) / inv_freq
    # HF: divides the context by the factor in double and compares with the rounded quotient; so does this.
    longest = scalar(rope.original_max_position_embeddings / rope.low_freq_factor)
    shortest = scalar(rope.original_max_position_embeddings / rope.high_freq_factor)

    slow = wavelength > longest
    between = ~slow & ~(wavelength < shortest)
    # HF: divides by zero where the band is empty (high = low) and discards the result. An empty band needs no weight.
    band = high - low if high != low else scalar(1)
    weight = (context / wavelength - low) / band
    smoothed = (scalar(1) - weight) * inv_freq / factor + weight * inv_freq
    return np.where(slow, inv_freq / factor, np.where(between, smoothed, inv_freq))


def rotation_table(
    position_ids: Int[Array, "B T"], inv_freq: np.ndarray, numerics: Numerics
) -> Float[Array, "B T R 2"]:
    """cos and sin of each position times each inverse frequency."""
    angles = position_ids.astype(numerics.rope)[..., None] * jnp.asarray(inv_freq)
    # HF: also multiplies by an attention factor, which is 1 for both supported rope types.
    return _cos_and_sin(angles)


def _cos_and_sin(angles: Float[Array, "..."]) -> Float[Array, "... 2"]:
    # HF: a complex number.
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class Llama4TextRotaryEmbedding(nnx.Module):
    """From positions to one (cos, sin) per pair of head dimensions.

    HF: keeps `inv_freq` as a buffer, which `model.to(bfloat16)` rounds. Here it is recomputed from two static
    attributes whenever a program is traced, so no cast of the weights can reach it.
    """

    def __init__(self, config: Llama4TextConfig, numerics: Numerics):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.numerics = numerics

    @property
    def inv_freq(self) -> np.ndarray:
        return inverse_frequencies(self.rope_parameters, self.head_dim, self.numerics.rope)

    def __call__(self, position_ids: Int[Array, "B T"]) -> Float[Array, "B T R 2"]:
        return rotation_table(position_ids, self.inv_freq, self.numerics)


def patch_angles(config: Llama4VisionConfig, dtype: np.dtype) -> np.ndarray:
    """Radians of each patch, row by row, and last the class token's; shape (P² + 1, R).

    HF: the first half of the pairs turns with the column (x), the second with the row (y), both counted from 1, and
    the class token, which is the last one, does not turn.
    """
    side = config.patches_per_side
    inv_freq = inverse_frequencies(config.rope_parameters, config.head_dim // 2, dtype)
    patches = np.arange(side * side)
    x, y = (((place + 1).astype(dtype)[:, None] * inv_freq) for place in (patches % side, patches // side))
    return np.pad(np.concatenate([x, y], axis=1), ((0, 1), (0, 0)))


class Llama4VisionRotaryEmbedding(nnx.Module):
    """One (cos, sin) for each patch, the class token last, and each pair of head dimensions.

    HF: a complex buffer, of which `model.to(bfloat16)` drops the imaginary part. Here, as for text, nothing is kept.
    """

    def __init__(self, config: Llama4VisionConfig, numerics: Numerics):
        self.config = config
        self.numerics = numerics

    def __call__(self) -> Float[Array, "P R 2"]:
        return _cos_and_sin(jnp.asarray(patch_angles(self.config, self.numerics.rope)))


def apply_rotary_emb(
    x: Float[Array, "B T N H"], frequencies: Float[Array, "#B T R 2"], numerics: Numerics
) -> Float[Array, "B T N H"]:
    """Rotate the pairs (0, 1), (2, 3), … of the last axis; R = H / 2.

    HF: takes queries and keys in one call, with the same interleaved pairs. Its checkpoints need no permutation.
    """
    pairs = x.astype(numerics.rope).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    cos, sin = frequencies[:, :, None, :, 0], frequencies[:, :, None, :, 1]
    rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return rotated.reshape(x.shape).astype(numerics.compute)
