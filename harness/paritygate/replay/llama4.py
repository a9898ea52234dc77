"""Builds `jax_llama4` as a candidate from HF's config and weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics
from jax_llama4.checkpoint import to_state_dict
from paritygate.core.cell import DtypePolicy


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForCausalLM` with the policy's dtypes; raises the candidate's own errors for what it cannot load."""
    numerics = Numerics.like_hf(jnp.dtype(policy.compute))
    overrides = {role: jnp.dtype(dtype) for role, dtype in policy.roles.items()}
    return Llama4ForCausalLM.from_state_dict(
        Llama4TextConfig.from_dict(dict(config)), weights, numerics=dataclasses.replace(numerics, **overrides)
    )


def cache(model: nnx.Module, kind: str, batch: int, length: int, dtype: str) -> Any:
    """An empty cache of the candidate for `length` slots; raises ValueError on a kind that it does not have."""
    if kind != "dense":
        raise ValueError(f"no cache of kind {kind!r}; known: dense")
    return model.init_cache(batch, length)


def gradients(model: nnx.Module, arguments: dict[str, Any], output: str) -> dict[str, np.ndarray]:
    """The gradient of a scalar output by every parameter, under HF's tensor names and in its layouts."""
    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)

    def value(weights: Any) -> jax.Array:
        return getattr(nnx.merge(graphdef, weights, rest)(**arguments), output)

    return to_state_dict(nnx.merge(graphdef, jax.jit(jax.grad(value))(weights), rest))
