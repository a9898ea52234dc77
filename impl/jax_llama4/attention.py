"""Grouped-query attention with HF's eager rounding, rope or attention temperature by kind of layer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.linear import Linear
from jax_llama4.masks import CHUNKED, MaskInfo, causal_mask, chunked_mask
from jax_llama4.modes import MODE_TRAIN, Mode
from jax_llama4.norms import Llama4TextL2Norm
from jax_llama4.outputs import AttentionLayerOutput
from jax_llama4.precision import Numerics, accumulation, resolve
from jax_llama4.rope import apply_rotary_emb, inverse_frequencies, rotation_table
from jax_llama4.sharding import kept, shard
from jax_llama4.taps import Tap


def attention_temperature(
    query_slots: Int[Array, "*B T"], floor_scale: int, attn_scale: float, numerics: Numerics
) -> Float[Array, "*B T"]:
    """Factor on the query, 1 for the first floor_scale - 1 slots and growing with the logarithm of the distance.

    It follows the slot in the row, padding included, not the rope position; slots before 0, which only what fills up a
    bucket has, count as 0. Source: arXiv 2501.19399.
    """
    count = jnp.maximum(query_slots, 0).astype(numerics.temperature) + 1.0
    return jnp.log1p(jnp.floor(count / floor_scale)) * attn_scale + 1.0


def attention_weights(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    scaling: float,
    numerics: Numerics,
    mask: Bool[Array, "B T S"] | None = None,
) -> Float[Array, "B N T S"]:
    """Softmax of the scaled scores over the keys, rounded where HF's eager attention rounds; N is a multiple of K."""
    compute, softmax, wide = numerics.compute, numerics.softmax, accumulation(numerics.compute)
    batch, length, heads, width = query.shape
    # Key head k serves the G consecutive query heads from k·G on. HF: repeats each key head G times instead.
    grouped = query.reshape(batch, length, key.shape[2], -1, width)
    letters, precision = "btkgh,bskh->bkgts", numerics.precision
    split = kept(letters, grouped, key)
    scores = jnp.einsum(letters, grouped, key, precision=precision, preferred_element_type=wide, out_sharding=split)
    scores = scores.astype(numerics.scores).reshape(batch, heads, length, -1)
    # HF: rounds the scores to the model dtype, and again after the scaling, whose factor torch keeps in float32.
    scores = (scores.astype(softmax) * scaling).astype(numerics.scores)
    if mask is not None:
        # HF: adds finfo.min to what is masked. Not -inf: a row with nothing to see stays finite, uniform over all keys.
        scores = jnp.where(mask[:, None, :, :], scores, jnp.finfo(scores.dtype).min.astype(scores.dtype))
    # HF: softmax in the model dtype; torch's kernel works in float32 inside and rounds the result.
    return jax.nn.softmax(scores.astype(softmax), axis=-1).astype(compute)


def weighted_values(
    weights: Float[Array, "B N T S"], value: Float[Array, "B S K H"], numerics: Numerics
) -> Float[Array, "B T N*H"]:
    """The values summed under the weights, heads one after another."""
    batch, _, length, keys = weights.shape
    grouped = weights.reshape(batch, value.shape[2], -1, length, keys)
    # Where a mesh splits the keys, parts of the sum are added over the devices: in 32 bits, rounded once after that.
    letters, precision, wide = "bkgts,bskh->btkgh", numerics.precision, accumulation(numerics.compute)
    split = kept(letters, grouped, value)
    out = jnp.einsum(letters, grouped, value, precision=precision, preferred_element_type=wide, out_sharding=split)
    return out.astype(numerics.compute).reshape(batch, length, -1)


def _slots(given: Int[Array, "... T"] | None, length: int, cache_metadata: Any) -> Int[Array, "... T"]:
    if given is not None:
        return given
    return jnp.arange(length) if cache_metadata is None else cache_metadata.query_slots(length)


class Llama4TextAttention(nnx.Module):
    """Attention of one decoder layer.

    `layer_idx` only selects the kind of layer and is not kept: layers of one kind have equal graph definitions.
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        layer_idx: int,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        self.head_dim = config.head_dim
        self.num_attention_heads = config.num_attention_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        self.use_rope = bool(config.no_rope_layers[layer_idx])  # HF: 1 in `no_rope_layers` means the layer uses rope
        self.layer_type = config.layer_types[layer_idx]
        self.chunk_size = config.attention_chunk_size if self.layer_type == CHUNKED else None
        self.attn_temperature_tuning = config.attn_temperature_tuning and not self.use_rope
        self.floor_scale = config.floor_scale
        self.attn_scale = config.attn_scale
        self.numerics = numerics

        std, bias = config.initializer_range, config.attention_bias
        project = functools.partial(Linear, std=std, bias=bias, numerics=numerics, rngs=rngs)
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = project(config.hidden_size, query_width)
        self.k_proj = project(config.hidden_size, key_width)
        self.v_proj = project(config.hidden_size, key_width)
        self.o_proj = project(query_width, config.hidden_size)
        self.use_qk_norm = self.use_rope and config.use_qk_norm
        if self.use_rope:
            self.rope_parameters = config.rope_parameters
            self.tap_q_rope = Tap()
            self.tap_k_rope = Tap()
        if self.use_qk_norm:
            self.qk_norm = Llama4TextL2Norm(config.rms_norm_eps, numerics=numerics)
        self.tap_query = Tap()
        self.tap_key = Tap()
        self.tap_probs = Tap()

    def __call__(
        self,
        hidden_states: Float[Array, "B T D"],
        mask_info: Any = None,
        position_ids: Int[Array, "B T"] | None = None,
        mode: Mode = MODE_TRAIN,
        cache_view: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        frequencies: Float[Array, "B T R 2"] | None = None,
        alibi: Any = None,
        *,
        query_slots: Int[Array, "... T"] | None = None,
    ) -> AttentionLayerOutput:
        """Attend and project back to D.

        `mask_info`: a MaskInfo, real tokens (B, S), or this layer's own mask (B, T, S), True where a query may see a
        key. `cache_metadata` counts the new tokens already; with a `cache_view`, keys are those of its `extend`.
        `frequencies`, read in rope layers only, default to those of `position_ids`, and these to the slots; the slots
        to what the cache says, or 0 … T - 1. `mode` changes nothing here: it is what the model's caller chose.
        Raises ValueError for an `alibi`: Llama 4 has none.
        """
        del mode
        if alibi is not None:
            raise ValueError("alibi: Llama 4 has no such bias, expected None")
        batch, length, _ = hidden_states.shape
        if cache_view is not None and cache_metadata is None:
            raise ValueError("cache_view: given without the cache_metadata that counts the new tokens")
        slots = _slots(query_slots, length, cache_metadata)
        mask = self._mask(mask_info, batch, slots, cache_view, cache_metadata)

        query = self._heads(self.q_proj(hidden_states), "heads")
        key = self._heads(self.k_proj(hidden_states), "kv_heads")
        value = self._heads(self.v_proj(hidden_states), "kv_heads")
        if self.use_rope:
            if frequencies is None:
                frequencies = self._frequencies(position_ids, slots, batch)
            query = self.tap_q_rope(apply_rotary_emb(query, frequencies, self.numerics))
            key = self.tap_k_rope(apply_rotary_emb(key, frequencies, self.numerics))
        if self.use_qk_norm:
            query = self.qk_norm(query)
            key = self.qk_norm(key)
        if self.attn_temperature_tuning:
            query = self._scale_query(query, slots)
        # What is kept is after rope and norm; the temperature is on the query only, so no key ever changes.
        query, key = self.tap_query(query), self.tap_key(key)
        if cache_view is not None:
            key, value, cache_view = cache_view.extend(key, value, cache_metadata)
            query = cache_metadata.by_row(query)

        probs = self.tap_probs(attention_weights(query, key, self.scaling, self.numerics, mask))
        mixed = weighted_values(probs, value, self.numerics)
        if cache_view is not None:
            mixed = cache_metadata.flat(mixed, length)
        out = self.o_proj(shard(mixed, "batch", "length", "heads"))
        return AttentionLayerOutput(
            attention_output=shard(out, "batch", "length", "embed"),
            attention_weight=probs if output_attentions else None,
            cache_view=cache_view,
        )

    def _heads(self, x: Float[Array, "B T W"], axis: str) -> Float[Array, "B T N H"]:
        return shard(x.reshape(*x.shape[:2], -1, self.head_dim), "batch", "length", axis, "head_dim")

    def _mask(
        self, mask_info: Any, batch: int, query_slots: Int[Array, "... T"], cache_view: Any, cache_metadata: Any
    ) -> Bool[Array, "N W S"]:
        # As many queries a row as the cache's `by_row` makes of them, which for a dense one are the tokens (B, T).
        info = MaskInfo.of(mask_info, self.layer_type)
        length = query_slots.shape[-1]
        if info.masks is not None:
            if self.layer_type not in info.masks:
                raise ValueError(f"mask_info: no mask for {self.layer_type}, only {', '.join(info.masks)}")
            return info.masks[self.layer_type]
        if cache_view is not None:
            if info.attention_mask is not None:
                raise ValueError("mask_info: with a cache, its metadata says which tokens are real")
            return cache_metadata.mask(cache_view.size, length, self.chunk_size)
        real = info.attention_mask
        real = jnp.ones((batch, length), bool) if real is None else real.astype(bool)
        slots = jnp.arange(length)
        return causal_mask(real, slots) if self.chunk_size is None else chunked_mask(real, slots, self.chunk_size)

    def _frequencies(
        self, position_ids: Int[Array, "B T"] | None, query_slots: Int[Array, "... T"], batch: int
    ) -> Float[Array, "B T R 2"]:
        if position_ids is None:
            position_ids = jnp.broadcast_to(query_slots, (batch, query_slots.shape[-1]))
        inv_freq = inverse_frequencies(self.rope_parameters, self.head_dim, self.numerics.rope)
        return rotation_table(position_ids, inv_freq, self.numerics)

    def _scale_query(self, query: Float[Array, "B T N H"], query_slots: Int[Array, "... T"]) -> Float[Array, "B T N H"]:
        factor = attention_temperature(query_slots, self.floor_scale, self.attn_scale, self.numerics)
        scaled = query.astype(self.numerics.temperature) * factor[..., None, None]
        return scaled.astype(self.numerics.compute)
