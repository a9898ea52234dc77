"""RMSNorm with a weight, the weightless per-head norm of queries and keys, and the LayerNorm of the vision tower."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.precision import Numerics, resolve
from jax_llama4.sharding import beside


def _divide_by_rms(x: Float[Array, "*B D"], eps: float) -> Float[Array, "*B D"]:
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + eps)


class Llama4TextRMSNorm(nnx.Module):
    """Divide by the root mean square of the last axis, then multiply by a weight of shape (D,)."""

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        dtype: Any = None,
        param_dtype: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, None, numerics)
        del rngs  # the weight starts at one; the argument is there so that all constructors look alike
        self.eps = eps
        self.numerics = numerics
        self.weight = nnx.Param(jnp.ones((dim,), dtype=numerics.param))

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        normed = _divide_by_rms(x.astype(self.numerics.norm), self.eps)
        # HF: rounds to the model dtype before the product with the weight, so there are two roundings.
        # The product is taken in the norm dtype, which holds that of two 16-bit values exactly, and so rounds as HF's;
        # its gradient by the weight is then summed over the tokens in that dtype, as torch does, not in 16 bits.
        rounded = normed.astype(self.numerics.compute).astype(self.numerics.norm)
        weight = beside(self.weight[...].astype(self.numerics.compute), rounded).astype(self.numerics.norm)
        return (rounded * weight).astype(self.numerics.compute)


class Llama4TextL2Norm(nnx.Module):
    """Divide by the root mean square of the last axis.

    HF: named after the L2 norm, but it takes the mean of the squares, not their sum.
    """

    # Not read: the norm has no weight. Part of the EasyDeL class that this one stands in for.
    kernel_init = staticmethod(nnx.initializers.ones)

    def __init__(self, eps: float = 1e-6, dtype: Any = None, *, numerics: Numerics | None = None):
        self.eps = eps
        self.numerics = resolve(dtype, None, None, numerics)

    def __call__(self, x: Float[Array, "*B H"]) -> Float[Array, "*B H"]:
        return _divide_by_rms(x.astype(self.numerics.norm), self.eps).astype(self.numerics.compute)


class Llama4VisionLayerNorm(nnx.Module):
    """Subtract the mean of the last axis, divide by its standard deviation, then weight (D,) and bias (D,)."""

    # HF: torch's default. Its model never reads `norm_eps` of the configuration.
    eps = 1e-5

    def __init__(
        self,
        dim: int,
        dtype: Any = None,
        param_dtype: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, None, numerics)
        del rngs  # weight and bias start at one and zero
        self.numerics = numerics
        self.weight = nnx.Param(jnp.ones((dim,), dtype=numerics.param))
        self.bias = nnx.Param(jnp.zeros((dim,), dtype=numerics.param))

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        norm, compute = self.numerics.norm, self.numerics.compute
        wide = x.astype(norm)
        # Not the mean of squares less the squared mean, which cancels where the mean is large.
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.eps)
        # HF: unlike its RMSNorm, torch's LayerNorm rounds once, after weight and bias.
        weight, bias = (beside(p[...].astype(compute), normed).astype(norm) for p in (self.weight, self.bias))
        return (normed * weight + bias).astype(compute)
