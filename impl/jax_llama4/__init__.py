"""Llama 4 in JAX (Flax NNX): the public names."""

from jax_llama4.attention import Llama4TextAttention
from jax_llama4.cache import InsertMetadata, TransformerCache, TransformerCacheView, TransformerMetadata
from jax_llama4.checkpoint import CheckpointError, param_shardings, shard_model
from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_base import ConfigError
from jax_llama4.config_multimodal import Llama4Config
from jax_llama4.config_rope import RopeParameters
from jax_llama4.config_vision import Llama4VisionConfig
from jax_llama4.decoder import Llama4TextDecoderLayer
from jax_llama4.generation import GenerateOutput, generate
from jax_llama4.heads import Llama4ForCausalLM, Llama4ForSequenceClassification
from jax_llama4.loading import Progress, load_state_dict, load_tensors, read_safetensors, to_state_dict
from jax_llama4.masks import Llama4TextMasks, MaskInfo, causal_mask, chunked_mask
from jax_llama4.mlp import Llama4TextMLP
from jax_llama4.modes import MODE_DECODE, MODE_INSERT, MODE_PREFILL, MODE_TRAIN
from jax_llama4.moe import Llama4Router, Llama4TextExperts, Llama4TextMoe, bmm
from jax_llama4.multimodal import Llama4ForConditionalGeneration, Llama4ImageMerge, Llama4MultiModalProjector
from jax_llama4.norms import Llama4TextL2Norm, Llama4TextRMSNorm, Llama4VisionLayerNorm
from jax_llama4.outputs import (
    AttentionLayerOutput,
    BaseModelOutput,
    DecoderLayerOutput,
    Llama4CausalLMOutputWithPast,
    MoeModelOutputWithPast,
    SequenceClassifierOutputWithPast,
)
from jax_llama4.paged import PagePool, RaggedPagesCache, RaggedPagesCacheView, RaggedPagesMetadata
from jax_llama4.precision import ROLES, Numerics, resolve
from jax_llama4.rope import Llama4TextRotaryEmbedding, Llama4VisionRotaryEmbedding, apply_rotary_emb
from jax_llama4.sampling import Sampling
from jax_llama4.sharding import Rules, ShardingError, combine, make_mesh, shard, use_mesh
from jax_llama4.taps import Tap
from jax_llama4.text import Llama4TextModel
from jax_llama4.vision import (
    Llama4UnfoldConvolution,
    Llama4VisionMLP2,
    Llama4VisionModel,
    Llama4VisionPixelShuffleMLP,
    pixel_shuffle,
)
from jax_llama4.vision_encoder import (
    Llama4VisionAttention,
    Llama4VisionEncoder,
    Llama4VisionEncoderLayer,
    Llama4VisionMLP,
)

__all__ = [
    "MODE_DECODE",
    "MODE_INSERT",
    "MODE_PREFILL",
    "MODE_TRAIN",
    "ROLES",
    "AttentionLayerOutput",
    "BaseModelOutput",
    "CheckpointError",
    "ConfigError",
    "DecoderLayerOutput",
    "GenerateOutput",
    "InsertMetadata",
    "Llama4CausalLMOutputWithPast",
    "Llama4Config",
    "Llama4ForCausalLM",
    "Llama4ForConditionalGeneration",
    "Llama4ForSequenceClassification",
    "Llama4ImageMerge",
    "Llama4MultiModalProjector",
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
    "Llama4UnfoldConvolution",
    "Llama4VisionAttention",
    "Llama4VisionConfig",
    "Llama4VisionEncoder",
    "Llama4VisionEncoderLayer",
    "Llama4VisionLayerNorm",
    "Llama4VisionMLP",
    "Llama4VisionMLP2",
    "Llama4VisionModel",
    "Llama4VisionPixelShuffleMLP",
    "Llama4VisionRotaryEmbedding",
    "MaskInfo",
    "MoeModelOutputWithPast",
    "Numerics",
    "PagePool",
    "Progress",
    "RaggedPagesCache",
    "RaggedPagesCacheView",
    "RaggedPagesMetadata",
    "RopeParameters",
    "Rules",
    "Sampling",
    "SequenceClassifierOutputWithPast",
    "ShardingError",
    "Tap",
    "TransformerCache",
    "TransformerCacheView",
    "TransformerMetadata",
    "apply_rotary_emb",
    "bmm",
    "causal_mask",
    "chunked_mask",
    "combine",
    "generate",
    "load_state_dict",
    "load_tensors",
    "make_mesh",
    "param_shardings",
    "pixel_shuffle",
    "read_safetensors",
    "resolve",
    "shard",
    "shard_model",
    "to_state_dict",
    "use_mesh",
]
