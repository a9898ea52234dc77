"""Who may attend to whom: the full causal mask and the chunked one, as pure functions of slots and padding."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Int

from jax_llama4.config import Llama4TextConfig


def causal_mask(attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"]) -> Bool[Array, "B T S"]:
    """True where key slot j is real and not after query slot i.

    A slot is a place in the row, counted from 0 and including padding. It is not the position that rope sees.
    """
    key_slots = jnp.arange(attention_mask.shape[1], dtype=query_slots.dtype)
    not_after = key_slots[None, :] <= query_slots[:, None]
    return not_after[None] & attention_mask[:, None, :]


def chunked_mask(
    attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"], chunk_size: int
) -> Bool[Array, "B T S"]:
    """The causal mask, restricted to keys in the query's own chunk of `chunk_size` slots.

    Chunks are blocks, not a sliding window: the first slot of a chunk sees only itself. They are counted from the
    first real token of the row, so left padding shifts them; a hole or right padding does not.
    """
    dtype = query_slots.dtype
    key_slots = jnp.arange(attention_mask.shape[1], dtype=dtype)
    seen_real = jnp.cumsum(attention_mask, axis=1, dtype=dtype) > 0
    first_real = jnp.sum(~seen_real, axis=1, dtype=dtype)  # HF: a row without any real token counts as all padding
    query_chunk = (query_slots[None, :] - first_real[:, None]) // chunk_size
    key_chunk = (key_slots[None, :] - first_real[:, None]) // chunk_size
    return causal_mask(attention_mask, query_slots) & (query_chunk[:, :, None] == key_chunk[:, None, :])


class Llama4TextMasks(nnx.Module):
    """The masks of one forward pass, one per attention type.

    HF: builds them in functions; a module gives them an address, and the decoder layers receive them as inputs.
    HF also finds packed sequences by jumps in `position_ids` when there is no 2-D mask and no cache; this does not.
    """

    def __init__(self, config: Llama4TextConfig):
        self.chunk_size = config.attention_chunk_size

    def __call__(
        self, attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"]
    ) -> dict[str, Bool[Array, "B T S"]]:
        """Masks by the names of `config.layer_types`; without a chunk size there is no chunked one."""
        masks = {"full_attention": causal_mask(attention_mask, query_slots)}
        if self.chunk_size is not None:
            masks["chunked_attention"] = chunked_mask(attention_mask, query_slots, self.chunk_size)
        return masks
