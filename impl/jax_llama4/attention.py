"""Grouped-query attention with HF's eager rounding, rope or attention temperature by kind of layer."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.linear import linear
from jax_llama4.norms import Llama4TextL2Norm
from jax_llama4.precision import Numerics
from jax_llama4.rope import apply_rotary_emb
from jax_llama4.taps import Tap


def attention_temperature(
    query_slots: Int[Array, "T"], floor_scale: int, attn_scale: float, numerics: Numerics
) -> Float[Array, "T"]:
    """Factor on the query, 1 for the first floor_scale - 1 slots and growing with the logarithm of the distance.

    It follows the slot in the row, padding included, not the rope position. Source: arXiv 2501.19399.
    """
    count = query_slots.astype(numerics.temperature) + 1.0
    return jnp.log1p(jnp.floor(count / floor_scale)) * attn_scale + 1.0


class Llama4TextAttention(nnx.Module):
    """Attention of one decoder layer.

    `layer_idx` only selects the kind of layer and is not kept: layers of one kind have equal graph definitions.
    """

    def __init__(self, config: Llama4TextConfig, layer_idx: int, *, numerics: Numerics, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        self.num_attention_heads = config.num_attention_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        self.use_rope = bool(config.no_rope_layers[layer_idx])  # HF: 1 in `no_rope_layers` means the layer uses rope
        self.attn_temperature_tuning = config.attn_temperature_tuning and not self.use_rope
        self.floor_scale = config.floor_scale
        self.attn_scale = config.attn_scale
        self.numerics = numerics

        std, bias = config.initializer_range, config.attention_bias
        project = functools.partial(linear, std=std, bias=bias, numerics=numerics, rngs=rngs)
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = project(config.hidden_size, query_width)
        self.k_proj = project(config.hidden_size, key_width)
        self.v_proj = project(config.hidden_size, key_width)
        self.o_proj = project(query_width, config.hidden_size)
        self.use_qk_norm = self.use_rope and config.use_qk_norm
        if self.use_rope:
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
        mask: Bool[Array, "B T S"],
        frequencies: Float[Array, "B T R 2"],
        query_slots: Int[Array, "T"],
    ) -> Float[Array, "B T D"]:
        """Attend and project back to D; `mask` is True where a query may see a key.

        `frequencies` is read in rope layers only, `query_slots` in layers with a temperature only.
        """
        batch, length, _ = hidden_states.shape
        query = self.q_proj(hidden_states).reshape(batch, length, self.num_attention_heads, self.head_dim)
        key = self.k_proj(hidden_states).reshape(batch, length, self.num_key_value_heads, self.head_dim)
        value = self.v_proj(hidden_states).reshape(batch, length, self.num_key_value_heads, self.head_dim)

        if self.use_rope:
            query = self.tap_q_rope(apply_rotary_emb(query, frequencies, self.numerics))
            key = self.tap_k_rope(apply_rotary_emb(key, frequencies, self.numerics))
        if self.use_qk_norm:
            query = self.qk_norm(query)
            key = self.qk_norm(key)
        if self.attn_temperature_tuning:
            query = self._scale_query(query, query_slots)

        probs = self.tap_probs(self._probabilities(self.tap_query(query), self.tap_key(key), mask))
        return self.o_proj(self._weighted_values(probs, value))

    def _scale_query(self, query: Float[Array, "B T N H"], query_slots: Int[Array, "T"]) -> Float[Array, "B T N H"]:
        factor = attention_temperature(query_slots, self.floor_scale, self.attn_scale, self.numerics)
        scaled = query.astype(self.numerics.temperature) * factor[None, :, None, None]
        return scaled.astype(self.numerics.compute)

    def _probabilities(
        self, query: Float[Array, "B T N H"], key: Float[Array, "B S K H"], mask: Bool[Array, "B T S"]
    ) -> Float[Array, "B N T S"]:
        compute, softmax = self.numerics.compute, self.numerics.softmax
        batch, length, heads, _ = query.shape
        # Key head k serves the G consecutive query heads from k·G on. HF: repeats each key head G times instead.
        grouped = query.reshape(batch, length, self.num_key_value_heads, -1, self.head_dim)
        scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, precision=self.numerics.precision)
        scores = scores.reshape(batch, heads, length, -1)
        # HF: rounds the scores to the model dtype, and again after the scaling, whose factor torch keeps in float32.
        scores = (scores.astype(softmax) * self.scaling).astype(compute)
        # HF: adds finfo.min to what is masked. Not -inf: a row with nothing to see stays finite, uniform over all keys.
        lowest = jnp.finfo(compute).min.astype(compute)
        scores = jnp.where(mask[:, None, :, :], scores, lowest)
        # HF: softmax in the model dtype; torch's kernel works in float32 inside and rounds the result.
        return jax.nn.softmax(scores.astype(softmax), axis=-1).astype(compute)

    def _weighted_values(
        self, probs: Float[Array, "B N T S"], value: Float[Array, "B S K H"]
    ) -> Float[Array, "B T N*H"]:
        batch, _, length, keys = probs.shape
        grouped = probs.reshape(batch, self.num_key_value_heads, -1, length, keys)
        out = jnp.einsum("bkgts,bskh->btkgh", grouped, value, precision=self.numerics.precision)
        return out.reshape(batch, length, -1)
