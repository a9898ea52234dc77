"""The text model with a head: logits over the vocabulary, or one row of logits a sequence; and their losses."""

from typing import Any, NoReturn

import jax.numpy as jnp
from flax import nnx
from jax.sharding import Sharding
from jaxtyping import Array, Bool, Float, Int, Integer

from jax_llama4.cache import TransformerCache
from jax_llama4.config import Llama4TextConfig
from jax_llama4.generation import Generation
from jax_llama4.linear import Linear, dot_general
from jax_llama4.losses import causal_lm_loss, problem_type_of, sequence_classification_loss
from jax_llama4.masks import MaskInfo
from jax_llama4.modes import Mode
from jax_llama4.outputs import Llama4CausalLMOutputWithPast, SequenceClassifierOutputWithPast
from jax_llama4.paged import RaggedPagesCache
from jax_llama4.precision import Numerics, resolve
from jax_llama4.pretrained import Pretrained
from jax_llama4.sharding import automatic, explicit_sharding, reshard, shard
from jax_llama4.text import Llama4TextModel


class Llama4TiedHead(nnx.Module):
    """Logits from the embedding table itself; the table is shared with `embed_tokens`, not copied."""

    def __init__(self, embed_tokens: nnx.Embed, *, numerics: Numerics):
        self.embedding = embed_tokens.embedding
        self.numerics = numerics

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        table = self.embedding[...].astype(self.numerics.compute)
        return dot_general(x, table, (((2,), (1,)), ((), ())), self.numerics.precision, self.numerics.logits)


class HoldsTextModel:
    """Mixin of classes whose `get_decoder` gives a text model: its caches and its embedding."""

    def init_cache(
        self: Any,
        batch_size: int,
        max_length: int,
        starts: int | Array | None = None,
        shardings: Sharding | dict[str, Sharding] | None = None,
        pad_token_id: int | None = None,
    ) -> TransformerCache:
        """An empty dense cache in the compute dtype; see `TransformerCache.init_cache`."""
        return self.get_decoder().init_cache(batch_size, max_length, starts, shardings, pad_token_id)

    def init_ragged_pages(self: Any, num_pages: int, page_size: int) -> RaggedPagesCache:
        """Empty pages in the compute dtype; see `RaggedPagesCache.init_cache`."""
        return self.get_decoder().init_ragged_pages(num_pages, page_size)

    def get_embedding(self: Any) -> nnx.Embed:
        return self.get_decoder().embed_tokens


def _of_each_row(x: Float[Array, "B T D"], at: Int[Array, "B"]) -> Float[Array, "B D"]:
    return x[jnp.arange(x.shape[0]), at]


def _head(config: Llama4TextConfig, width: int, numerics: Numerics, rngs: nnx.Rngs) -> Linear:
    std = config.initializer_range
    return Linear(config.hidden_size, width, std=std, result="logits", numerics=numerics, rngs=rngs)


class _TextModelWithHead(HoldsTextModel, Pretrained, nnx.Module):
    """What both heads share: the text model under `model`, its cache and its parts.

    `stack_options` are the text model's `scan_layers`, `remat_policy` and `moe_dispatch`.
    """

    config_class = Llama4TextConfig
    checkpoint_root = "language_model."

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        **stack_options: Any,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        self.require_config(config)
        self.config = config
        self.numerics = numerics
        self.model = Llama4TextModel(
            config,
            rngs=rngs,
            numerics=numerics,
            **stack_options,
        )

    def get_encoder(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is decoder-only: it has no encoder")

    def get_decoder(self) -> Llama4TextModel:
        return self.model


class Llama4ForCausalLM(Generation, _TextModelWithHead):
    """Text model with a language-modelling head."""

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        **stack_options: Any,
    ):
        super().__init__(
            config,
            dtype,
            param_dtype,
            precision,
            rngs=rngs,
            numerics=numerics,
            **stack_options,
        )
        if config.tie_word_embeddings:
            self.lm_head = Llama4TiedHead(self.model.embed_tokens, numerics=self.numerics)
        else:
            self.lm_head = _head(config, config.vocab_size, self.numerics, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        attention_mask: Bool[Array, "B S"] | Integer[Array, "B S"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        labels: Int[Array, "B T"] | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        mask_info: MaskInfo | None = None,
        mode: Mode | None = None,
        past_key_values: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
        apply_lm_head: bool = True,
        logits_to_keep: int = 0,
    ) -> Llama4CausalLMOutputWithPast:
        """Logits in `Numerics.logits` and, given `labels`, the next-token loss.

        Inputs and errors are those of `Llama4TextModel`. Labels are shifted here, not by the caller. Logits are for
        every position, or for the last `logits_to_keep` where that is not 0, as in HF; without `apply_lm_head` there
        are none, and the last of the `hidden_states` is what the head would read.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            mask_info=mask_info,
            mode=mode,
            past_key_values=past_key_values,
            cache_metadata=cache_metadata,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_router_logits=output_router_logits,
        )
        tokens = outputs.last_hidden_state.shape[:2]
        logits = loss = None
        if apply_lm_head:
            last = outputs.last_hidden_state
            if logits_to_keep:
                last = reshard(last, "batch", None, "embed")
            logits = self.lm_head(last[:, -logits_to_keep:])
            logits = shard(logits, "batch", "length", "vocab")
        if labels is not None:
            if labels.shape != tokens:
                raise ValueError(f"labels: expected the shape of the tokens, {tokens}, got {labels.shape}")
            if logits is None or logits.shape[:2] != tokens:
                raise ValueError("labels: the loss needs the logits of every position")
            loss = causal_lm_loss(logits, labels, self.numerics)
        return Llama4CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=outputs.router_logits,
        )

    def get_lm_head(self) -> Linear | Llama4TiedHead:
        return self.lm_head


class Llama4ForSequenceClassification(_TextModelWithHead):
    """Text model with a linear score, without bias, of the last token that is not padding.

    `config.num_labels` is the width of the score. HF: has no such class; these are the numbers of its
    `GenericForSequenceClassification`, which looks at token ids and not at the attention mask.
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        **stack_options: Any,
    ):
        super().__init__(
            config,
            dtype,
            param_dtype,
            precision,
            rngs=rngs,
            numerics=numerics,
            **stack_options,
        )
        self.score = _head(config, config.num_labels, self.numerics, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        attention_mask: Bool[Array, "B S"] | Integer[Array, "B S"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        labels: Array | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        mask_info: MaskInfo | None = None,
        mode: Mode | None = None,
        past_key_values: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
    ) -> SequenceClassifierOutputWithPast:
        """One row of logits a sequence and, given `labels`, the loss of `config.problem_type`.

        The score is read at the rightmost token that is not `config.pad_token_id`, whatever the attention mask says;
        of a row of padding only, at the first token; given `inputs_embeds`, at the last token. Raises ValueError for
        several rows where there is no pad token. Without a problem type it follows from the labels, see
        `problem_type_of`. Inputs and other errors are those of `Llama4TextModel`.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            mask_info=mask_info,
            mode=mode,
            past_key_values=past_key_values,
            cache_metadata=cache_metadata,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_router_logits=output_router_logits,
        )
        last = outputs.last_hidden_state
        # HF: scores every position and picks one row afterwards.
        split = explicit_sharding((last.shape[0], last.shape[2]), "batch", "embed")
        picked = automatic(_of_each_row, split, last, self._last_token(input_ids, last.shape[0]))
        logits = self.score(picked)
        loss = None
        if labels is not None:
            kind = self.config.problem_type or problem_type_of(self.config.num_labels, labels)
            loss = sequence_classification_loss(logits, labels, kind, self.numerics)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=outputs.router_logits,
        )

    def _last_token(self, input_ids: Array | None, batch: int) -> Int[Array, "B"]:
        pad = self.config.pad_token_id
        if pad is None and batch != 1:
            raise ValueError(f"config.pad_token_id: None, but without one only one row can be scored, got {batch}")
        if pad is None or input_ids is None:
            return jnp.full((batch,), -1)
        return jnp.argmax(jnp.where(input_ids != pad, jnp.arange(input_ids.shape[1]), 0), axis=1)

    def get_lm_head(self) -> NoReturn:
        raise NotImplementedError("Llama4ForSequenceClassification scores sequences: it has no language-modelling head")
