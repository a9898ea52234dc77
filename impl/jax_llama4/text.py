"""The text model without a head: embedding, decoder stack, final norm."""

from typing import Any, NoReturn

import jax.numpy as jnp
from flax import nnx
from jax.sharding import Sharding
from jaxtyping import Array, Bool, Float, Int, Integer

from jax_llama4.cache import InsertMetadata, TransformerCache
from jax_llama4.config import Llama4TextConfig
from jax_llama4.decoder import Llama4TextDecoderLayer
from jax_llama4.dispatch import Dispatch
from jax_llama4.linear import normal_init
from jax_llama4.masks import Llama4TextMasks, MaskInfo
from jax_llama4.modes import MODE_INSERT, MODE_PREFILL, CacheKind, Mode, resolve_mode
from jax_llama4.norms import Llama4TextRMSNorm
from jax_llama4.outputs import MoeModelOutputWithPast
from jax_llama4.paged import RaggedPagesCache, RaggedPagesMetadata
from jax_llama4.precision import Numerics, resolve
from jax_llama4.pretrained import Pretrained
from jax_llama4.rope import Llama4TextRotaryEmbedding
from jax_llama4.sharding import explicit_sharding, shard
from jax_llama4.stack import LayerCall, build_layers, checked_policy, is_stacked, period_of, run_layers, stack_views

_ONE_OF = "expected exactly one of input_ids and inputs_embeds, got"


class Llama4TextEmbedding(nnx.Embed):
    """A row of the table for each token."""

    def __call__(self, inputs: Int[Array, "B T"], out_sharding: Any = None) -> Float[Array, "B T D"]:
        """`out_sharding` is by default what `shard` gives the result."""
        axes = ("batch", "length", "embed")
        return super().__call__(inputs, out_sharding or explicit_sharding((*inputs.shape, self.features), *axes))


class Llama4TextModel(Pretrained, nnx.Module):
    """Decoder stack without a head.

    `remat_policy` names a member of `jax.checkpoint_policies`: what the backward pass keeps of each layer instead of
    computing it again. None keeps everything. With `scan_layers` the weights of layers of one kind are stacked, and
    the layers run as a scan over the periods in which kinds repeat. `moe_dispatch` is that of `Llama4TextMoe`.
    """

    config_class = Llama4TextConfig
    checkpoint_root = "language_model.model."

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        remat_policy: str | None = None,
        scan_layers: bool = False,
        moe_dispatch: Dispatch = "auto",
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        numerics.require_available()
        self.require_config(config)
        self.config = config
        self.numerics = numerics
        self.remat_policy = checked_policy(remat_policy)
        self.embed_tokens = Llama4TextEmbedding(
            config.vocab_size,
            config.hidden_size,
            dtype=numerics.residual,
            param_dtype=numerics.param,
            embedding_init=normal_init(config.initializer_range),
            rngs=rngs,
        )

        def build(layer_idx: int, rngs: nnx.Rngs) -> Llama4TextDecoderLayer:
            return Llama4TextDecoderLayer(config, layer_idx, numerics=numerics, rngs=rngs, moe_dispatch=moe_dispatch)

        self.layers = nnx.List(build_layers(build, layer_kinds(config), rngs, scan_layers=scan_layers))
        self.norm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)
        self.rotary_emb = Llama4TextRotaryEmbedding(config, numerics)
        self.masks = Llama4TextMasks(config)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        attention_mask: Bool[Array, "B S"] | Integer[Array, "B S"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        mask_info: MaskInfo | None = None,
        mode: Mode | None = None,
        past_key_values: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
    ) -> MoeModelOutputWithPast:
        """Run the stack on exactly one of `input_ids` and `inputs_embeds`.

        `attention_mask` is nonzero where a token is real: (B, T), or with a cache also (B, max_length) for all slots.
        Positions default to the slot in the row, padding included. `mask_info` says the same as `attention_mask`, or
        brings finished masks by attention type. `mode` is inferred where it is None. `past_key_values` is a cache; a
        RaggedPagesCache needs its `cache_metadata`, and mode insert an InsertMetadata with the rows to replace.
        Raises ValueError for shapes that do not fit. A token id of V or more cannot be refused inside a compiled
        program, nor a slot that the cache has no room for: its row is NaN. A negative id counts from the end.
        """
        hidden_states = self.embed(input_ids, inputs_embeds)
        batch, length, _ = hidden_states.shape
        _check_same_shape("position_ids", position_ids, (batch, length))
        if mask_info is not None and mask_info.attention_mask is not None:
            if attention_mask is not None:
                raise ValueError("attention_mask: given twice, also in mask_info")
            attention_mask = mask_info.attention_mask
        inserted = isinstance(cache_metadata, InsertMetadata)
        mode = resolve_mode(MODE_INSERT if mode is None and inserted else mode, length, _kind_of(past_key_values))
        if inserted != (mode == MODE_INSERT):
            given = type(cache_metadata).__name__
            raise ValueError(f"mode {mode}: InsertMetadata belongs to mode {MODE_INSERT}, got {given}")
        running: Any = past_key_values
        cache: Any = running
        if mode == MODE_INSERT:
            cache = running.empty_like(batch)

        if cache is None:
            _check_same_shape("attention_mask", attention_mask, (batch, length))
            metadata, query_slots, views = None, jnp.arange(length), (None,) * len(self.layers)
        else:
            metadata = _metadata_of(cache, cache_metadata, (batch, length), attention_mask)
            query_slots, views = metadata.query_slots(length), cache.views
        if position_ids is None:
            position_ids = jnp.broadcast_to(query_slots, (batch, length))
        if mask_info is None or mask_info.masks is None:
            mask_info = MaskInfo(masks=self._masks(attention_mask, query_slots, views, metadata, (batch, length)))
        if output_router_logits is None:
            output_router_logits = self.config.output_router_logits

        call = LayerCall(
            words={
                "mode": MODE_PREFILL if mode == MODE_INSERT else mode,
                "output_attentions": output_attentions,
                "output_router_logits": output_router_logits,
            },
            arrays={
                "mask_info": mask_info,
                "cache_metadata": metadata,
                "frequencies": self.rotary_emb(position_ids),
                "query_slots": query_slots,
            },
            remat=self.remat_policy,
            keep_entering=output_hidden_states,
        )
        out = run_layers(self.layers, shard(hidden_states, "batch", "length", "embed"), views, call)
        if cache is not None:
            cache = cache.replace(views=out.views)
        if isinstance(cache, TransformerCache):
            cache = cache.replace(metadata=metadata)
            if mode == MODE_INSERT:
                cache = running.insert(cache_metadata.rows, cache)
        last = self.norm(out.hidden_states)
        if metadata is not None:
            # Not before the layers: a NaN that is kept would reach every row that shares its pages.
            last = jnp.where(metadata.fits(length)[..., None], last, jnp.full_like(last, jnp.nan))
        return MoeModelOutputWithPast(
            last_hidden_state=last,
            past_key_values=cache,
            # HF: the last layer's output appears only after the final norm.
            hidden_states=(*out.entering, last) if output_hidden_states else None,
            attentions=out.attentions if output_attentions else None,
            router_logits=out.router_logits if output_router_logits else None,
        )

    def _masks(
        self, attention_mask: Any, query_slots: Any, views: tuple[Any, ...], metadata: Any, tokens: tuple[int, int]
    ) -> dict[str, Bool[Array, "B T S"]]:
        if metadata is None:
            real = jnp.ones(tokens, dtype=bool) if attention_mask is None else attention_mask.astype(bool)
            return self.masks(real, query_slots)
        kinds = self.config.layer_types[: len(views)]  # all of them, or those of the first period
        sizes = {kind: view.size for kind, view in zip(kinds, views, strict=True)}
        return self.masks.under_cache(metadata, tokens[1], sizes)

    def embed(
        self, input_ids: Int[Array, "B T"] | None, inputs_embeds: Float[Array, "B T D"] | None = None
    ) -> Float[Array, "B T D"]:
        """What enters the layers, from exactly one of the two; raises ValueError for what does not fit."""
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
        return inputs_embeds.astype(self.numerics.residual)

    def init_cache(
        self,
        batch_size: int,
        max_length: int,
        starts: int | Array | None = None,
        shardings: Sharding | dict[str, Sharding] | None = None,
        pad_token_id: int | None = None,
    ) -> TransformerCache:
        """An empty dense cache in the compute dtype; see `TransformerCache.init_cache`."""
        cache = TransformerCache.init_cache(
            self.config, batch_size, max_length, starts, shardings, pad_token_id, dtype=self.numerics.compute
        )
        return cache.replace(views=self._laid_out(cache.views))

    def init_ragged_pages(self, num_pages: int, page_size: int) -> RaggedPagesCache:
        """Empty pages in the compute dtype; see `RaggedPagesCache.init_cache`."""
        cache = RaggedPagesCache.init_cache(self.config, num_pages, page_size, dtype=self.numerics.compute)
        return cache.replace(views=self._laid_out(cache.views))

    def _laid_out(self, views: tuple[Any, ...]) -> tuple[Any, ...]:
        return stack_views(views, period_of(layer_kinds(self.config))) if is_stacked(self.layers) else views

    def get_encoder(self) -> NoReturn:
        raise NotImplementedError("Llama4TextModel is decoder-only: it has no encoder")

    def get_decoder(self) -> "Llama4TextModel":
        return self

    def get_lm_head(self) -> NoReturn:
        raise NotImplementedError("Llama4TextModel has no head: Llama4ForCausalLM has one")

    def get_embedding(self) -> nnx.Embed:
        return self.embed_tokens


def layer_kinds(config: Llama4TextConfig) -> list[tuple[int, str, bool]]:
    """What tells layers apart: rope or not, chunked or full, mixture or dense."""
    return [
        (config.no_rope_layers[i], config.layer_types[i], i in config.moe_layers)
        for i in range(config.num_hidden_layers)
    ]


def _kind_of(cache: Any) -> CacheKind:
    if cache is None:
        return "none"
    return "dense" if isinstance(cache, TransformerCache) else "paged"


def _metadata_of(cache: Any, given: Any, tokens: tuple[int, int], attention_mask: Any) -> Any:
    """The cache's metadata once these tokens are in it."""
    if isinstance(cache, TransformerCache):
        if tokens[0] != cache.batch_size:
            raise ValueError(f"past_key_values: expected one of {tokens[0]} rows, got {cache.batch_size}")
        return cache.metadata.append(tokens[1], attention_mask)
    if not isinstance(given, RaggedPagesMetadata):
        raise ValueError(f"cache_metadata: a paged cache needs RaggedPagesMetadata, got {type(given).__name__}")
    if tokens[0] != 1 or attention_mask is not None:
        raise ValueError(f"a ragged batch is one row of tokens without a mask, got {tokens[0]} rows")
    return given


def _check_same_shape(name: str, value: Array | None, tokens: tuple[int, ...]) -> None:
    if value is not None and value.shape != tokens:
        raise ValueError(f"{name}: expected the shape of the tokens, {tokens}, got {value.shape}")
