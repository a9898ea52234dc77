"""The text model: embedding, decoder stack, final norm; and the causal language model with its head and loss."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer

from jax_llama4.config import Llama4TextConfig
from jax_llama4.decoder import Llama4TextDecoderLayer
from jax_llama4.linear import linear, normal_init
from jax_llama4.masks import Llama4TextMasks
from jax_llama4.norms import Llama4TextRMSNorm
from jax_llama4.outputs import Llama4CausalLMOutputWithPast, MoeModelOutputWithPast
from jax_llama4.precision import Numerics
from jax_llama4.pretrained import Pretrained
from jax_llama4.rope import Llama4TextRotaryEmbedding

# HF: `ignore_index` of its loss: a label that does not count.
IGNORED_LABEL = -100

_ONE_OF = "expected exactly one of input_ids and inputs_embeds, got"


class Llama4TextModel(Pretrained, nnx.Module):
    """Decoder stack without a head."""

    checkpoint_root = "model."

    def __init__(self, config: Llama4TextConfig, *, numerics: Numerics, rngs: nnx.Rngs):
        numerics.require_available()
        self.config = config
        self.numerics = numerics
        self.embed_tokens = nnx.Embed(
            config.vocab_size,
            config.hidden_size,
            dtype=numerics.compute,
            param_dtype=numerics.param,
            embedding_init=normal_init(config.initializer_range),
            rngs=rngs,
        )
        self.layers = nnx.List(
            [
                Llama4TextDecoderLayer(config, layer_idx, numerics=numerics, rngs=rngs)
                for layer_idx in range(config.num_hidden_layers)
            ]
        )
        self.norm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)
        self.rotary_emb = Llama4TextRotaryEmbedding(config, numerics)
        self.masks = Llama4TextMasks(config)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        attention_mask: Bool[Array, "B T"] | Integer[Array, "B T"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
    ) -> MoeModelOutputWithPast:
        """Run the stack on exactly one of `input_ids` and `inputs_embeds`.

        `attention_mask` is nonzero where a token is real. Positions default to the slot in the row, padding included.
        Raises ValueError for shapes that do not fit. A token id of V or more cannot be refused inside a compiled
        program: its row is NaN, and a negative one counts from the end.
        """
        hidden_states = self._embed(input_ids, inputs_embeds)
        batch, length, _ = hidden_states.shape
        _check_same_shape("attention_mask", attention_mask, (batch, length))
        _check_same_shape("position_ids", position_ids, (batch, length))
        query_slots = jnp.arange(length)
        if position_ids is None:
            position_ids = jnp.broadcast_to(query_slots, (batch, length))
        if attention_mask is None:
            attention_mask = jnp.ones((batch, length), dtype=bool)

        masks = self.masks(attention_mask.astype(bool), query_slots)
        frequencies = self.rotary_emb(position_ids)
        if output_router_logits is None:
            output_router_logits = self.config.output_router_logits
        entering, router_logits = [], []
        for layer, layer_type in zip(self.layers, self.config.layer_types, strict=True):
            entering.append(hidden_states)
            arguments = (hidden_states, masks[layer_type], frequencies, query_slots)
            if output_router_logits:
                hidden_states, logits = layer._forward(*arguments)
                router_logits.extend([] if logits is None else [logits])
            else:
                hidden_states = layer(*arguments)
        hidden_states = self.norm(hidden_states)
        return MoeModelOutputWithPast(
            last_hidden_state=hidden_states,
            # HF: the last layer's output appears only after the final norm.
            hidden_states=(*entering, hidden_states) if output_hidden_states else None,
            router_logits=tuple(router_logits) if output_router_logits else None,
        )

    def _embed(self, input_ids: Array | None, inputs_embeds: Array | None) -> Float[Array, "B T D"]:
        if input_ids is not None and inputs_embeds is not None:
            raise ValueError(f"{_ONE_OF} both, {input_ids.shape} and {inputs_embeds.shape}")
        if input_ids is not None:
            if not jnp.issubdtype(input_ids.dtype, jnp.integer):
                raise ValueError(f"input_ids: expected integers, got {input_ids.dtype}")
            if input_ids.ndim != 2 or 0 in input_ids.shape:
                raise ValueError(f"input_ids: expected a non-empty (batch, length), got {input_ids.shape}")
            return self.embed_tokens(input_ids)
        if inputs_embeds is None:
            raise ValueError(f"{_ONE_OF} neither")
        shape, width = inputs_embeds.shape, self.config.hidden_size
        if len(shape) != 3 or shape[-1] != width or 0 in shape:
            raise ValueError(f"inputs_embeds: expected a non-empty (batch, length, {width}), got {shape}")
        return inputs_embeds.astype(self.numerics.compute)


class Llama4TiedHead(nnx.Module):
    """Logits from the embedding table itself; the table is shared with `embed_tokens`, not copied."""

    def __init__(self, embed_tokens: nnx.Embed, *, numerics: Numerics):
        self.embedding = embed_tokens.embedding
        self.numerics = numerics

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        table = self.embedding[...].astype(self.numerics.compute)
        return jnp.einsum("btd,vd->btv", x, table, precision=self.numerics.precision)


class Llama4ForCausalLM(Pretrained, nnx.Module):
    """Text model with a language-modelling head."""

    def __init__(self, config: Llama4TextConfig, *, numerics: Numerics, rngs: nnx.Rngs):
        self.config = config
        self.numerics = numerics
        self.model = Llama4TextModel(config, numerics=numerics, rngs=rngs)
        if config.tie_word_embeddings:
            self.lm_head = Llama4TiedHead(self.model.embed_tokens, numerics=numerics)
        else:
            std = config.initializer_range
            self.lm_head = linear(config.hidden_size, config.vocab_size, std=std, numerics=numerics, rngs=rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        attention_mask: Bool[Array, "B T"] | Integer[Array, "B T"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        labels: Int[Array, "B T"] | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
    ) -> Llama4CausalLMOutputWithPast:
        """Logits for every position in the compute dtype and, given `labels`, the next-token loss.

        Inputs and errors are those of `Llama4TextModel`. Labels are shifted here, not by the caller.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_router_logits=output_router_logits,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            _check_same_shape("labels", labels, logits.shape[:2])
            loss = causal_lm_loss(logits, labels, self.numerics)
        return Llama4CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            router_logits=outputs.router_logits,
        )


def causal_lm_loss(logits: Float[Array, "B T V"], labels: Int[Array, "B T"], numerics: Numerics) -> Float[Array, ""]:
    """Mean cross entropy of token t + 1 given the logits at t, over labels other than -100.

    Where no label counts it is NaN. HF: the same.
    """
    log_probs = jax.nn.log_softmax(logits[:, :-1].astype(numerics.loss), axis=-1)
    targets = labels[:, 1:]
    counted = targets != IGNORED_LABEL
    picked = jnp.take_along_axis(log_probs, jnp.where(counted, targets, 0)[..., None], axis=-1)[..., 0]
    total = jnp.sum(jnp.where(counted, picked, jnp.zeros_like(picked)))
    return -total / jnp.sum(counted).astype(numerics.loss)


def _check_same_shape(name: str, value: Array | None, tokens: tuple[int, ...]) -> None:
    if value is not None and value.shape != tokens:
        raise ValueError(f"{name}: expected the shape of the tokens, {tokens}, got {value.shape}")
