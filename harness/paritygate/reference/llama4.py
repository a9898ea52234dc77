"""Builds HuggingFace's Llama 4 text model from a config and weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, Llama4ForCausalLM, Llama4PreTrainedModel, Llama4TextConfig, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

from paritygate.core.errors import HarnessError
from paritygate.reference.tensors import to_torch


def cache(model: Llama4ForCausalLM) -> DynamicCache:
    """HF's default cache: chunked layers keep one token less than a chunk, full layers everything."""
    return DynamicCache(config=model.config)


class Llama4ForSequenceClassification(GenericForSequenceClassification, Llama4PreTrainedModel):
    """HF's generic classifier on the Llama 4 text model, which HF itself does not offer."""


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str) -> torch.nn.Module:
    """`Llama4ForCausalLM` in `dtype`, eager attention, eval mode; without weights on the meta device, for its shapes.

    The model is built in its dtype and never cast: a cast would round the rotary frequencies too.
    """
    return _build(Llama4ForCausalLM, config, weights, dtype)


def build_classifier(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str
) -> torch.nn.Module:
    """The classifier, as `build`."""
    return _build(Llama4ForSequenceClassification, config, weights, dtype)


def _build(
    cls: type[PreTrainedModel], config: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None, dtype: str
) -> torch.nn.Module:
    with torch.device("cpu" if weights is not None else "meta"):
        model: Any = cls._from_config(
            Llama4TextConfig(**config), dtype=getattr(torch, dtype), attn_implementation="eager"
        )
    if weights is None:
        return model
    model.load_state_dict({name: to_torch(value, dtype) for name, value in weights.items()}, strict=True)
    frequencies = model.model.rotary_emb.inv_freq.dtype
    if frequencies not in (torch.float32, torch.float64):
        raise HarnessError("rotary frequencies were rounded", expected="float32 or float64", got=str(frequencies))
    return model.eval()
