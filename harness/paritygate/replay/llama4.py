"""Builds `jax_llama4` as a candidate from HF's config and weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics
from paritygate.core.cell import DtypePolicy


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForCausalLM` with the policy's dtypes; raises the candidate's own errors for what it cannot load."""
    numerics = Numerics.like_hf(jnp.dtype(policy.compute))
    overrides = {role: jnp.dtype(dtype) for role, dtype in policy.roles.items()}
    return Llama4ForCausalLM.from_state_dict(
        Llama4TextConfig.from_dict(dict(config)), weights, numerics=dataclasses.replace(numerics, **overrides)
    )
