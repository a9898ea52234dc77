"""Who may attend to whom: one pure function of slots and padding, and the masks of one forward pass made with it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Int

from jax_llama4.config import LAYER_TYPES, Llama4TextConfig
from jax_llama4.pytree import PyTree
from jax_llama4.sharding import automatic, explicit_sharding

CHUNKED, FULL = LAYER_TYPES


def visible(
    query_slots: Int[Array, "#B T"],
    key_slots: Int[Array, "#B S"],
    real_keys: Bool[Array, "#B S"],
    starts: Int[Array, "#B"],
    chunk_size: int | None = None,
) -> Bool[Array, "B T S"]:
    """True where a key is real and not after the query and, given a chunk size, in the query's own chunk.

    A slot is a place in the row, counted from 0 and including padding. It is not the position that rope sees.
    Chunks are blocks, not a sliding window: the first slot of a chunk sees only itself. They are counted from
    `starts`, the first real slot of the row, so left padding shifts them; a hole or right padding does not.
    """
    mask = (key_slots[:, None, :] <= query_slots[:, :, None]) & real_keys[:, None, :]
    if chunk_size is None:
        return mask
    query_chunk = (query_slots - starts[:, None]) // chunk_size
    key_chunk = (key_slots - starts[:, None]) // chunk_size
    return mask & (query_chunk[:, :, None] == key_chunk[:, None, :])


def first_real_slots(attention_mask: Bool[Array, "B S"], dtype: Any = int) -> Int[Array, "B"]:
    """Leading zeros of each row. HF: a row without any real token counts as all padding."""
    return jnp.sum(jnp.cumsum(attention_mask, axis=1, dtype=dtype) == 0, axis=1, dtype=dtype)


def _of_whole_rows(
    attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"], chunk_size: int | None
) -> Bool[Array, "B T S"]:
    def seen(attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"]) -> Bool[Array, "B T S"]:
        dtype = query_slots.dtype
        key_slots = jnp.arange(attention_mask.shape[1], dtype=dtype)
        starts = first_real_slots(attention_mask, dtype)
        return visible(query_slots[None], key_slots[None], attention_mask, starts, chunk_size)

    batch, keys = attention_mask.shape
    split = explicit_sharding((batch, query_slots.shape[0], keys), "batch", "length", None)
    return automatic(seen, split, attention_mask, query_slots)


def causal_mask(attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"]) -> Bool[Array, "B T S"]:
    """`visible` without chunks, for keys that lie at slots 0 … S - 1."""
    return _of_whole_rows(attention_mask, query_slots, None)


def chunked_mask(
    attention_mask: Bool[Array, "B S"], query_slots: Int[Array, "T"], chunk_size: int
) -> Bool[Array, "B T S"]:
    """`visible` with chunks, for keys that lie at slots 0 … S - 1."""
    return _of_whole_rows(attention_mask, query_slots, chunk_size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MaskInfo(PyTree):
    """What a layer is told about masking: which tokens are real, or the finished masks by attention type."""

    attention_mask: Bool[Array, "B S"] | None = None
    masks: dict[str, Bool[Array, "B T S"]] | None = None

    @classmethod
    def of(cls, given: Any, layer_type: str) -> "MaskInfo":
        """From what a layer accepts: a MaskInfo, None, or an array, (B, S) of real tokens or the layer's own (B, T, S).

        Raises ValueError for an array of another rank.
        """
        if given is None or isinstance(given, MaskInfo):
            return given or cls()
        if given.ndim == 2:
            return cls(attention_mask=given.astype(bool))
        if given.ndim != 3:
            raise ValueError(f"mask_info: expected (B, S) or (B, T, S), got {given.shape}")
        return cls(masks={layer_type: given})


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
        masks = {FULL: causal_mask(attention_mask, query_slots)}
        if self.chunk_size is not None:
            masks[CHUNKED] = chunked_mask(attention_mask, query_slots, self.chunk_size)
        return masks

    def under_cache(self, metadata: Any, tokens: int, sizes: Mapping[str, int]) -> dict[str, Bool[Array, "B T S"]]:
        """The same for the last `tokens` tokens of each row and the entries of a cache, `sizes` of them a layer."""
        chunk_sizes = {FULL: None, CHUNKED: self.chunk_size}
        return {kind: metadata.mask(size, tokens, chunk_sizes[kind]) for kind, size in sizes.items()}
