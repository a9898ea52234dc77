"""The ragged paged cache: pages shared by many sequences, and batches in which prefill and decode are mixed.

The tokens of a call are one row (1, T): those of sequence 0, then of sequence 1, and so on, as many of each as there
are; what is left at the end is padding. Everything is plain gathers and products; a kernel can stand behind the same
calls.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.masks import visible
from jax_llama4.pytree import PyTree
from jax_llama4.sharding import require_auto, shard

NO_PAGE = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RaggedPagesMetadata(PyTree):
    """Where the sequences of one call keep their slots, and which tokens of the call are theirs.

    Slot s of sequence n lies in page `page_tables[n, s // page_size]`. The two last fields are static: a program is
    compiled for each `most_new_tokens`, the most that any sequence brings. It bounds the work, N times that many
    queries, so a call that only decodes should say 1; None stands for all tokens of the call.
    """

    page_tables: Int[Array, "N M"]  # NO_PAGE where none is assigned
    lengths: Int[Array, "N"]  # slots filled, those of this call included
    query_starts: Int[Array, "N+1"]  # where each sequence's new tokens begin; the last entry is where padding does
    page_size: int = dataclasses.field(metadata={"static": True})
    most_new_tokens: int | None = dataclasses.field(default=None, metadata={"static": True})

    @classmethod
    def of(
        cls, page_tables: Any, stored: Any, new_tokens: Any, page_size: int, most_new_tokens: int | None = None
    ) -> Self:
        """From slots filled before the call and new tokens, one number a sequence each."""
        stored, new_tokens = jnp.asarray(stored, int), jnp.asarray(new_tokens, int)
        query_starts = jnp.concatenate([jnp.zeros((1,), int), jnp.cumsum(new_tokens)])
        return cls(jnp.asarray(page_tables, int), stored + new_tokens, query_starts, page_size, most_new_tokens)

    @property
    def new_tokens(self) -> Int[Array, "N"]:
        return jnp.diff(self.query_starts)

    def sequences(self, tokens: int) -> Int[Array, "T"]:
        """The sequence of each token; N, one too many, for padding."""
        return jnp.sum(jnp.arange(tokens)[:, None] >= self.query_starts[None, 1:], axis=1)

    def _places(self, tokens: int) -> tuple[Int[Array, "T"], Int[Array, "T"]]:
        """Of each token its sequence and its number among the new tokens of it; of padding, those of some token."""
        owner = jnp.minimum(self.sequences(tokens), self.lengths.shape[0] - 1)
        return owner, jnp.arange(tokens) - self.query_starts[owner]

    def query_slots(self, tokens: int) -> Int[Array, "1 T"]:
        owner, number = self._places(tokens)
        return ((self.lengths - self.new_tokens)[owner] + number)[None]

    def entries(self, tokens: int) -> Int[Array, "T"]:
        """The place of each token among all entries of all pages, negative where it has none."""
        owner, _ = self._places(tokens)
        slots = self.query_slots(tokens)[0]
        table = jnp.minimum(slots // self.page_size, self.page_tables.shape[1] - 1)
        page = self.page_tables[owner, table]
        has_place = (slots < self.page_tables.shape[1] * self.page_size) & (page >= 0)
        return jnp.where(has_place & ~self._padding(tokens), page * self.page_size + slots % self.page_size, NO_PAGE)

    def _padding(self, tokens: int) -> Bool[Array, "T"]:
        return self.sequences(tokens) == self.lengths.shape[0]

    def fits(self, tokens: int) -> Bool[Array, "1 T"]:
        """Which tokens have an entry and are no more than `most_new_tokens` of their sequence; padding counts as so."""
        few = self._places(tokens)[1] < self._width(tokens)
        return ((few & (self.entries(tokens) >= 0)) | self._padding(tokens))[None]

    def mask(self, size: int, tokens: int, chunk_size: int | None = None) -> Bool[Array, "N W S"]:
        """Who may see which slot of their own sequence, for queries as `by_row` lays them out; see `masks.visible`."""
        del size  # all layers keep all slots
        slots = jnp.arange(self.page_tables.shape[1] * self.page_size)[None]
        numbers = jnp.arange(self._width(tokens))[None]
        queries = (self.lengths - self.new_tokens)[:, None] + numbers
        real = (slots < self.lengths[:, None]) & jnp.repeat(self.page_tables >= 0, self.page_size, axis=1)
        mask = visible(queries, jnp.broadcast_to(slots, real.shape), real, jnp.zeros_like(self.lengths), chunk_size)
        return mask & (numbers < self.new_tokens[:, None])[:, :, None]

    def by_row(self, flat: Float[Array, "1 T *D"]) -> Float[Array, "N W *D"]:
        """One row a sequence of what is flat, W = `most_new_tokens`; what is beyond a sequence's own is not read."""
        tokens = flat.shape[1]
        places = self.query_starts[:-1, None] + jnp.arange(self._width(tokens))
        return flat[0, jnp.minimum(places, tokens - 1)]

    def flat(self, rows: Float[Array, "N W *D"], tokens: int) -> Float[Array, "1 T *D"]:
        """The inverse of `by_row`; what padding gets means nothing."""
        owner, number = self._places(tokens)
        return rows[owner, jnp.minimum(number, rows.shape[1] - 1)][None]

    def _width(self, tokens: int) -> int:
        return tokens if self.most_new_tokens is None else min(tokens, self.most_new_tokens)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RaggedPagesCacheView(PyTree):
    """Pages of one layer: keys after rope and norm, and values."""

    key: Float[Array, "P page K H"]
    value: Float[Array, "P page K H"]

    @property
    def size(self) -> int:
        return self.key.shape[-4] * self.key.shape[-3]

    def extend(
        self, key: Float[Array, "1 T K H"], value: Float[Array, "1 T K H"], metadata: RaggedPagesMetadata
    ) -> tuple[Float[Array, "N S K H"], Float[Array, "N S K H"], Self]:
        """Keys and values of each sequence by slot, the new ones included, and the new view."""
        new = self.update(key, value, metadata)
        return _gathered(new.key, metadata.page_tables), _gathered(new.value, metadata.page_tables), new

    def update(
        self, key: Float[Array, "1 T K H"], value: Float[Array, "1 T K H"], metadata: RaggedPagesMetadata
    ) -> Self:
        """The view with the tokens of the call written into their pages."""
        entries = metadata.entries(key.shape[1])
        entries = jnp.where(entries < 0, self.size, entries)  # beyond the end, which is dropped

        def write(pages: Array, new: Array) -> Array:
            rows = pages.reshape(-1, *pages.shape[2:])
            return _laid_out(rows.at[entries].set(new[0].astype(pages.dtype), mode="drop").reshape(pages.shape))

        return self.replace(key=write(self.key, key), value=write(self.value, value))


def _gathered(pages: Float[Array, "P page K H"], page_tables: Int[Array, "N M"]) -> Float[Array, "N S K H"]:
    found = pages[jnp.maximum(page_tables, 0)]
    return found.reshape(page_tables.shape[0], -1, *pages.shape[2:])


def _laid_out(pages: Float[Array, "P page K H"]) -> Float[Array, "P page K H"]:
    return shard(pages, None, None, "kv_heads", "head_dim")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RaggedPagesCache(PyTree):
    """One view a layer; which pages belong to whom is the `cache_metadata` of each call."""

    views: tuple[RaggedPagesCacheView, ...]

    @classmethod
    def init_cache(cls, config: Llama4TextConfig, num_pages: int, page_size: int, *, dtype: Any) -> Self:
        """Pages for all layers; a page holds `page_size` slots of one sequence in every layer.

        Raises ShardingError under a mesh of Explicit axes.
        """
        require_auto("paged caches", "use init_cache, or make_mesh(..., axis_types='auto')")
        if num_pages < 1 or page_size < 1:
            raise ValueError(f"init_cache: expected a positive size, got {num_pages} pages of {page_size} slots")
        shape = (num_pages, page_size, config.num_key_value_heads, config.head_dim)

        def empty() -> Array:
            return _laid_out(jnp.zeros(shape, dtype=dtype))

        return cls(tuple(RaggedPagesCacheView(empty(), empty()) for _ in range(config.num_hidden_layers)))


class PagePool:
    """Hands out pages on the host: a free list, and the pages and filled slots of each row of the page table."""

    def __init__(self, num_pages: int, page_size: int, rows: int, pages_per_row: int):
        self.page_size = page_size
        self.page_tables = np.full((rows, pages_per_row), NO_PAGE)
        self.stored = np.zeros(rows, dtype=int)
        self._free = list(range(num_pages))[::-1]

    def step(self, new_tokens: Sequence[int], most_new_tokens: int | None = None) -> RaggedPagesMetadata:
        """The metadata of a call that brings so many tokens for each row, whose pages are taken from the free list.

        Raises ValueError, and takes nothing, where pages run out or a row is longer than its table.
        """
        after = self.stored + np.asarray(new_tokens)
        needed = -(-after // self.page_size)
        had = -(-self.stored // self.page_size)
        most, room = needed.max(), self.page_tables.shape[1]
        if most > room:
            raise ValueError(f"pages: a row of {after.max()} slots needs {most}, its table has room for {room}")
        if np.sum(needed - had) > len(self._free):
            raise ValueError(f"pages: {np.sum(needed - had)} more are needed, {len(self._free)} are free")
        for row in range(len(self.stored)):
            for place in range(had[row], needed[row]):
                self.page_tables[row, place] = self._free.pop()
        metadata = RaggedPagesMetadata.of(self.page_tables, self.stored, new_tokens, self.page_size, most_new_tokens)
        self.stored = after
        return metadata

    def release(self, row: int) -> None:
        """Give the pages of a row back."""
        self._free += [int(page) for page in self.page_tables[row] if page != NO_PAGE][::-1]
        self.page_tables[row] = NO_PAGE
        self.stored[row] = 0
