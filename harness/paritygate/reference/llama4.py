"""Builds HuggingFace's Llama 4 models from a config and weights."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from transformers import (
    DynamicCache,
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4PreTrainedModel,
    Llama4TextConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.llama4 import modeling_llama4

from paritygate.core.errors import HarnessError
from paritygate.reference.tensors import to_torch

# Buffers that a cast would round, or of which it would drop the imaginary part.
_ROTATIONS = ("inv_freq", "freqs_ci")
_EAGER = ("eager_attention_forward", "vision_eager_attention_forward")
_ROTATION_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def cache(model: PreTrainedModel) -> DynamicCache:
    """HF's default cache: chunked layers keep one token less than a chunk, full layers everything."""
    return DynamicCache(config=model.config.get_text_config())


class Llama4ForSequenceClassification(GenericForSequenceClassification, Llama4PreTrainedModel):
    """HF's generic classifier on the Llama 4 text model, which HF itself does not offer."""


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str) -> torch.nn.Module:
    """`Llama4ForCausalLM` in `dtype`, eager attention, eval mode; without weights on the meta device, for its shapes.

    The model is built in its dtype and never cast: a cast would round the rotary frequencies too.
    """
    return _build(Llama4ForCausalLM, Llama4TextConfig(**config), weights, dtype)


def build_classifier(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str
) -> torch.nn.Module:
    """The classifier, as `build`."""
    return _build(Llama4ForSequenceClassification, Llama4TextConfig(**config), weights, dtype)


def build_multimodal(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str
) -> torch.nn.Module:
    """`Llama4ForConditionalGeneration`, as `build`: both halves eager."""
    return _build(Llama4ForConditionalGeneration, Llama4Config(**copy.deepcopy(dict(config))), weights, dtype)


@contextmanager
def sdpa() -> Iterator[None]:
    """Inside, attention is torch's own kernel, which shows no probabilities: those are still the eager ones."""
    eager = {name: getattr(modeling_llama4, name) for name in _EAGER}
    try:
        for name, function in eager.items():
            setattr(modeling_llama4, name, _fused(function))
        yield
    finally:
        for name, function in eager.items():
            setattr(modeling_llama4, name, function)


def _fused(eager: Callable[..., Any]) -> Callable[..., Any]:
    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: Any, **rest: Any) -> Any:
        _, probabilities = eager(module, query, key, value, attention_mask, scaling, **rest)
        keys, values = (modeling_llama4.repeat_kv(x, module.num_key_value_groups) for x in (key, value))
        fused = torch.nn.functional.scaled_dot_product_attention
        result = fused(query, keys, values, attn_mask=attention_mask, scale=scaling)
        return result.transpose(1, 2).contiguous(), probabilities

    return attention


def _build(
    cls: type[PreTrainedModel], config: PreTrainedConfig, weights: Mapping[str, np.ndarray] | None, dtype: str
) -> torch.nn.Module:
    with torch.device("meta") if weights is None else nullcontext():
        model: Any = cls._from_config(config, dtype=getattr(torch, dtype), attn_implementation="eager")
    if weights is None:
        return model
    model.load_state_dict({name: to_torch(value, dtype) for name, value in weights.items()}, strict=True)
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] in _ROTATIONS and buffer.dtype not in _ROTATION_DTYPES:
            raise HarnessError("rotary frequencies were rounded", where=name, got=str(buffer.dtype))
    return model.eval()
