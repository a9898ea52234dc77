"""Builds `jax_llama4` as a candidate from HF's config and weights."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_llama4 import Llama4ForCausalLM, Llama4ForSequenceClassification, Llama4TextConfig, Numerics
from jax_llama4.loading import to_state_dict
from jax_llama4.precision import ROLES
from paritygate.core.cell import DtypePolicy

# Stored weights have the compute dtype, unless a policy names a role `param`.
_ROLE = {"param": "compute"}


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForCausalLM` with the policy's dtypes; raises the candidate's own errors for what it cannot load.

    Its experts run as in HF, all on every token: they are a site of their own, which a dispatch would leave out.
    """
    return _build(Llama4ForCausalLM, config, weights, policy)


def build_classifier(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForSequenceClassification`, as `build`."""
    return _build(Llama4ForSequenceClassification, config, weights, policy)


def _build(cls: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    numerics = Numerics(**{role: jnp.dtype(policy.dtype(_ROLE.get(role, role))) for role in ROLES})
    return cls.from_state_dict(
        Llama4TextConfig.from_dict(dict(config)), weights, numerics=numerics, moe_dispatch="dense"
    )


def cache(model: Any, kind: str, batch: int, length: int, dtype: str) -> Any:
    """An empty cache of the candidate for `length` slots; raises ValueError on a kind that it does not have."""
    if kind != "dense":
        raise ValueError(f"no cache of kind {kind!r}; known: dense")
    return model.init_cache(batch, length)


def gradients(model: Any, arguments: dict[str, Any], output: str) -> dict[str, np.ndarray]:
    """The gradient of a scalar output by every parameter, under HF's tensor names and in its layouts."""
    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)

    def value(weights: Any) -> jax.Array:
        return getattr(nnx.merge(graphdef, weights, rest)(**arguments), output)

    return to_state_dict(nnx.merge(graphdef, jax.jit(jax.grad(value))(weights), rest))
