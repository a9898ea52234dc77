"""What the modules return: pytrees with HF's field names, absent fields None."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float

from jax_llama4.pytree import PyTree

# A TransformerCache or a RaggedPagesCache, or the view of one layer; `Any` because jax builds these from other leaves.
Cache = Any
CacheView = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AttentionLayerOutput(PyTree):
    """Output of an attention module; the weights where asked for, the view of this layer's cache where given."""

    attention_output: Float[Array, "B T D"]
    attention_weight: Float[Array, "B N T S"] | None = None
    cache_view: CacheView = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecoderLayerOutput(PyTree):
    """Output of a layer; `router_logits` where asked for, in mixture layers; `cache_view` in decoder layers only."""

    hidden_states: Float[Array, "B T D"]
    attention_weight: Float[Array, "B N T S"] | None = None
    router_logits: Float[Array, "M E"] | None = None
    cache_view: CacheView = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MoeModelOutputWithPast(PyTree):
    """Output of `Llama4TextModel`.

    `hidden_states`, where asked for, are L + 1 arrays: embeddings, outputs of layers 0 … L - 2, and the last layer's
    output after the final norm. `attentions` are L arrays (B, N, T, S); under a cache S counts its entries.
    `router_logits` has one (M, E) array per mixture layer, M = B · T.
    """

    last_hidden_state: Float[Array, "B T D"]
    past_key_values: Cache = None
    hidden_states: tuple[Float[Array, "B T D"], ...] | None = None
    attentions: tuple[Float[Array, "B N T S"], ...] | None = None
    router_logits: tuple[Float[Array, "M E"], ...] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BaseModelOutput(PyTree):
    """Output of `Llama4VisionModel` for I tiles, and of its encoder, whose `last_hidden_state` is still (I, P, D).

    `last_hidden_state` is what the adapter gives, L tokens a tile. `hidden_states`, where asked for, are those before
    the first layer and after each, P = patches and the class token, without the norm that follows.
    """

    last_hidden_state: Float[Array, "I L W"]
    hidden_states: tuple[Float[Array, "I P D"], ...] | None = None
    attentions: tuple[Float[Array, "I N P P"], ...] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Llama4CausalLMOutputWithPast(PyTree):
    """Output of the classes with a language-modelling head; other fields are as in `MoeModelOutputWithPast`.

    `image_hidden_states` are the features of the I tiles as the vision tower gives them, before the projector, and
    None where there were no images. HF: the same. EasyDeL: documents them as projected and returns them as they are.
    """

    loss: Float[Array, ""] | None = None
    logits: Float[Array, "B T V"] | None = None
    past_key_values: Cache = None
    hidden_states: tuple[Float[Array, "B T D"], ...] | None = None
    attentions: tuple[Float[Array, "B N T S"], ...] | None = None
    image_hidden_states: Float[Array, "I L W"] | None = None
    router_logits: tuple[Float[Array, "M E"], ...] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SequenceClassifierOutputWithPast(PyTree):
    """Output of `Llama4ForSequenceClassification`: one row of logits a sequence."""

    loss: Float[Array, ""] | None = None
    logits: Float[Array, "B L"] | None = None
    past_key_values: Cache = None
    hidden_states: tuple[Float[Array, "B T D"], ...] | None = None
    attentions: tuple[Float[Array, "B N T S"], ...] | None = None
    router_logits: tuple[Float[Array, "M E"], ...] | None = None
