"""Llama 4 text model in JAX (Flax NNX): the public names."""

from jax_llama4.attention import Llama4TextAttention
from jax_llama4.checkpoint import CheckpointError, load_state_dict, load_tensors, read_safetensors, to_state_dict
from jax_llama4.config import ConfigError, Llama4TextConfig, RopeParameters
from jax_llama4.decoder import Llama4TextDecoderLayer
from jax_llama4.masks import Llama4TextMasks, causal_mask, chunked_mask
from jax_llama4.mlp import Llama4TextMLP
from jax_llama4.moe import Llama4Router, Llama4TextExperts, Llama4TextMoe, bmm
from jax_llama4.norms import Llama4TextL2Norm, Llama4TextRMSNorm
from jax_llama4.outputs import Llama4CausalLMOutputWithPast, MoeModelOutputWithPast
from jax_llama4.precision import ROLES, Numerics
from jax_llama4.rope import Llama4TextRotaryEmbedding, apply_rotary_emb
from jax_llama4.taps import Tap
from jax_llama4.text import Llama4ForCausalLM, Llama4TextModel

__all__ = [
    "ROLES",
    "CheckpointError",
    "ConfigError",
    "Llama4CausalLMOutputWithPast",
    "Llama4ForCausalLM",
    "Llama4Router",
    "Llama4TextAttention",
    "Llama4TextConfig",
    "Llama4TextDecoderLayer",
    "Llama4TextExperts",
    "Llama4TextL2Norm",
    "Llama4TextMLP",
    "Llama4TextMasks",
    "Llama4TextModel",
    "Llama4TextMoe",
    "Llama4TextRMSNorm",
    "Llama4TextRotaryEmbedding",
    "MoeModelOutputWithPast",
    "Numerics",
    "RopeParameters",
    "Tap",
    "apply_rotary_emb",
    "bmm",
    "causal_mask",
    "chunked_mask",
    "load_state_dict",
    "load_tensors",
    "read_safetensors",
    "to_state_dict",
]
