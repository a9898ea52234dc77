"""The gated feed-forward block: dense layers, and the shared expert of the mixture."""

import functools
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.config import Llama4TextConfig
from jax_llama4.linear import Linear
from jax_llama4.precision import Numerics, resolve
from jax_llama4.sharding import shard


class SiLUActivation(nnx.Module):
    """x · sigmoid(x)."""

    def __init__(self, numerics: Numerics):
        self.numerics = numerics

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        # HF: torch computes silu of a 16-bit input in float32 and rounds once; in 16 bits a third would differ.
        return jax.nn.silu(x.astype(self.numerics.activation)).astype(self.numerics.compute)


class GELUActivation(nnx.Module):
    """x · Φ(x), with the normal distribution function itself.

    HF: `hidden_act` of the vision configuration is not read; its modules use torch's default, which is the exact form.
    JAX's default is the approximation by tanh, up to 5e-4 away.
    """

    def __init__(self, numerics: Numerics):
        self.numerics = numerics

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        # HF: rounds once, as for silu.
        return jax.nn.gelu(x.astype(self.numerics.activation), approximate=False).astype(self.numerics.compute)


class Llama4TextMLP(nnx.Module):
    """down(silu(gate(x)) · up(x)), widths D → F → D, no bias."""

    def __init__(
        self,
        config: Llama4TextConfig,
        intermediate_size: int | None = None,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        width = config.intermediate_size if intermediate_size is None else intermediate_size
        project = functools.partial(Linear, std=config.initializer_range, numerics=numerics, rngs=rngs)
        self.gate_proj = project(config.hidden_size, width)
        self.up_proj = project(config.hidden_size, width)
        self.down_proj = project(width, config.hidden_size)
        self.activation_fn = SiLUActivation(numerics)

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        hidden = self.activation_fn(self.gate_proj(x)) * self.up_proj(x)
        # Rows of a batch come as (B, T, F), the shared expert's tokens as (M, F).
        leading = ("batch", "length") if hidden.ndim == 3 else ("batch",) * (hidden.ndim - 1)
        return self.down_proj(shard(hidden, *leading, "mlp"))
