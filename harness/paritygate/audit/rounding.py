"""Rounding of float32 values to narrower formats, by their bits, so that no compiler can simplify it away."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Format(NamedTuple):
    """A float format: stored mantissa bits, exponent of the smallest normal number, largest finite number."""

    mantissa: int
    smallest: int
    largest: float


E4M3 = Format(3, -6, 448.0)  # float8_e4m3fn: OCP OFP8, no infinity
E5M2 = Format(2, -14, 57344.0)


def _bits(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _float(bits: Array) -> Array:
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def truncated_to_bf16(x: Array) -> Array:
    """The upper 16 bits: rounded towards zero. A NaN may become an infinity, as in XLA's split."""
    return _float(_bits(x) & jnp.uint32(0xFFFF0000))


def to_bf16(x: Array) -> Array:
    """To nearest, ties to even."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def to_tf32(x: Array) -> Array:
    """10 mantissa bits, to nearest, ties away from zero: PTX `cvt.rna.tf32.f32`."""
    bits = _bits(x)
    rounded = _float((bits + jnp.uint32(0x1000)) & jnp.uint32(0xFFFFE000))
    return jnp.where(jnp.isfinite(x), rounded, x)


def to_f16(x: Array) -> Array:
    """To nearest, ties to even, with subnormals; beyond 65520 infinite."""
    # A barrier, for XLA may drop a cast to 16 bits that is taken back at once.
    return jax.lax.optimization_barrier(x.astype(jnp.float16)).astype(jnp.float32)


def to_float8(x: Array, format: Format) -> Array:
    """To nearest, ties to even, with subnormals, saturating at the format's largest number; NaN stays."""
    exponent = ((_bits(x) >> 23) & jnp.uint32(0xFF)).astype(jnp.int32) - 127
    quantum = _float(((jnp.maximum(exponent, format.smallest) - format.mantissa + 127) << 23).astype(jnp.uint32))
    return jnp.clip(jnp.round(x / quantum) * quantum, -format.largest, format.largest)
