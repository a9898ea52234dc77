"""The dense key-value cache: what each layer keeps, how much of it is filled, and who may look at it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.sharding import Sharding
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.masks import CHUNKED, visible
from jax_llama4.pytree import PyTree
from jax_llama4.sharding import automatic, explicit_sharding, reshard, shard

_AXES = ("batch", "length", "kv_heads", "head_dim")  # of keys and values; one more in front where layers are stacked


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransformerMetadata(PyTree):
    """How far each row is filled, and which of its slots are real.

    A slot is a place in the row, counted from 0, padding included. New tokens take the slots from `lengths` on.
    A length below 0 lets a prompt that was filled up on the left begin before slot 0: what lies there is never seen.
    A negative length lets that many tokens of the next call go by: they have no slot, are not kept and not seen.
    HF: keeps no such thing, but asks for a mask of all slots, past and new, at every call.
    """

    lengths: Int[Array, "B"]  # slots filled so far
    starts: Int[Array, "B"]  # first real slot: of what is filled where there is one, else the earliest to come
    real: Bool[Array, "B S"]  # False at padding and holes

    @property
    def max_length(self) -> int:
        return self.real.shape[1]

    def append(self, tokens: int, attention_mask: Array | None = None) -> Self:
        """The state once each row has `tokens` more slots.

        `attention_mask` is nonzero at real tokens: (B, tokens) for the new ones, or (B, max_length) for all slots.
        Without one, whatever is not before `starts` is real. Raises ValueError for another shape.
        """
        batch = self.lengths.shape[0]
        if tokens > self.max_length:
            raise ValueError(f"cache: {tokens} new tokens do not fit into max_length {self.max_length}")
        slots = self.lengths[:, None] + jnp.arange(tokens)
        # Bookkeeping is small, and whole on every device.
        attention_mask = None if attention_mask is None else reshard(attention_mask, None, None)
        not_before = slots >= self.starts[:, None]
        lengths = self.lengths + tokens
        if attention_mask is not None and attention_mask.shape == (batch, self.max_length) != (batch, tokens):
            real = attention_mask.astype(bool) & (jnp.arange(self.max_length) >= self.starts[:, None])
        elif attention_mask is None or attention_mask.shape == (batch, tokens):
            new = not_before if attention_mask is None else attention_mask.astype(bool) & not_before
            real = _write(self.real, new, self.lengths)
        else:
            raise ValueError(
                f"attention_mask: expected the shape of the new tokens, {(batch, tokens)}, or of all slots of the "
                f"cache, {(batch, self.max_length)}, got {attention_mask.shape}"
            )
        filled = real & (jnp.arange(self.max_length) < lengths[:, None])
        starts = jnp.where(jnp.any(filled, axis=1), jnp.argmax(filled, axis=1), jnp.maximum(self.starts, lengths))
        return self.replace(lengths=lengths, starts=starts.astype(self.starts.dtype), real=real)

    def query_slots(self, tokens: int) -> Int[Array, "B T"]:
        """Slots of the last `tokens` tokens of each row."""
        return self.lengths[:, None] - tokens + jnp.arange(tokens)

    def fits(self, tokens: int) -> Bool[Array, "B T"]:
        """Which of the last tokens have a slot; the others were not stored."""
        return self.query_slots(tokens) < self.max_length

    def key_slots(self, size: int, tokens: int) -> Int[Array, "B S"]:
        """Slots of the keys that a layer of `size` entries shows to the last `tokens` tokens, negative where none."""
        if size == self.max_length or tokens == 1:
            return held_slots(self.lengths, size)
        return jnp.concatenate([held_slots(self.lengths - tokens, size), self.query_slots(tokens)], axis=1)

    def by_row(self, queries: Array) -> Array:
        """Queries as `mask` counts them: they already are, (B, T); a ragged batch has to be cut."""
        return queries

    def flat(self, rows: Array, tokens: int) -> Array:
        """The inverse of `by_row`."""
        del tokens
        return rows

    def mask(self, size: int, tokens: int, chunk_size: int | None = None) -> Bool[Array, "B T S"]:
        """Who among the last `tokens` tokens may see which key of a layer of `size` entries; see `masks.visible`."""
        key_slots = self.key_slots(size, tokens)
        real = jnp.take_along_axis(self.real, jnp.clip(key_slots, 0, self.max_length - 1), axis=1)
        return visible(self.query_slots(tokens), key_slots, real & (key_slots >= 0), self.starts, chunk_size)


def held_slots(lengths: Int[Array, "B"], size: int) -> Int[Array, "B S"]:
    """Which slot lies at each entry of a ring of `size`: the last one filled that is the entry modulo `size`.

    Negative where none is. In a ring that was never filled up, entry r holds slot r.
    """
    last = lengths[:, None] - 1
    return last - (last - jnp.arange(size)) % size


def _write(whole: Array, new: Array, at: Int[Array, "B"]) -> Array:
    """Each row's new entries from its own place on; what would lie before the first or past the last is dropped."""
    slots = at[:, None] + jnp.arange(new.shape[1])
    slots = jnp.where(slots < 0, whole.shape[1], slots)
    rows = jnp.arange(whole.shape[0])[:, None]
    return whole.at[rows, slots].set(new, mode="drop")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransformerCacheView(PyTree):
    """Keys and values of one layer, keys after rope and norm; slot s lies at entry s mod S.

    A full layer has S = max_length entries, a chunked one no more than a chunk, which is all that a later token of the
    same chunk can see. HF: keeps the last chunk - 1 tokens and shows them together with the new ones.
    """

    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]

    @property
    def size(self) -> int:
        return self.key.shape[-3]

    def extend(
        self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"], metadata: TransformerMetadata
    ) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K H"], Self]:
        """Keys and values that the new tokens may look at, in the order of `metadata.key_slots`, and the new view.

        `metadata` counts the new tokens already.
        """
        tokens = key.shape[1]
        new = self.update(key, value, metadata.query_slots(tokens))
        if self.size == metadata.max_length or tokens == 1:
            return new.key, new.value, new
        # The first new tokens of a chunk may be overwritten by the last ones, and what they look at as well.
        return _joined(self.key, key), _joined(self.value, value), new

    def update(self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"], slots: Int[Array, "B T"]) -> Self:
        """The view with tokens written at consecutive slots of each row; of more than S tokens, the last S."""
        key, value = (reshard(x, "batch", None, "kv_heads", "head_dim") for x in (key, value))
        key, value, slots = (x[:, -self.size :] for x in (key, value, slots))
        rows = jnp.arange(key.shape[0])[:, None]
        entries = slots % self.size
        split = explicit_sharding(self.key.shape, *_AXES)

        def written(kept: Array, new: Array) -> Array:
            return _laid_out(automatic(_set, split, kept, rows, entries, new.astype(kept.dtype)))

        return self.replace(key=written(self.key, key), value=written(self.value, value))

    def rows_from(self, rows: Int[Array, "R"], source: Self, lengths: Int[Array, "R"]) -> Self:
        """The view with `rows` replaced by those of `source`, which are filled up to `lengths`."""
        entries = held_slots(lengths, self.size) % source.size
        split = explicit_sharding(self.key.shape, *_AXES)

        def replaced(kept: Array, other: Array) -> Array:
            return _laid_out(automatic(_set_rows, split, kept, rows, other, entries))

        return self.replace(key=replaced(self.key, source.key), value=replaced(self.value, source.value))


def _laid_out(kept: Float[Array, "B S K H"]) -> Float[Array, "B S K H"]:
    return shard(kept, *_AXES)


def _set(kept: Array, rows: Array, entries: Array, new: Array) -> Array:
    return kept.at[rows, entries].set(new)


def _set_rows(kept: Array, rows: Array, source: Array, entries: Array) -> Array:
    picked = jnp.arange(entries.shape[0])[:, None], entries
    return kept.at[rows].set(source[picked])


def _joined(kept: Float[Array, "B S K H"], new: Float[Array, "B T K H"]) -> Float[Array, "B S+T K H"]:
    batch, entries, *heads = kept.shape
    split = explicit_sharding((batch, entries + new.shape[1], *heads), *_AXES)
    return automatic(lambda *parts: jnp.concatenate(parts, axis=1), split, kept, new)


def layer_sizes(config: Llama4TextConfig, max_length: int) -> tuple[int, ...]:
    """Entries that each layer keeps a row."""
    chunk = config.attention_chunk_size
    return tuple(
        min(max_length, chunk) if kind == CHUNKED and chunk is not None else max_length for kind in config.layer_types
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransformerCache(PyTree):
    """One view a layer and the metadata that all layers share.

    Of a model whose layers are scanned, one view for each layer of a period, with a leading axis over the periods.
    """

    views: tuple[TransformerCacheView, ...]
    metadata: TransformerMetadata

    @classmethod
    def init_cache(
        cls,
        config: Llama4TextConfig,
        batch_size: int,
        max_length: int,
        starts: int | Array | None = None,
        shardings: Sharding | Mapping[str, Sharding] | None = None,
        pad_token_id: int | None = None,
        *,
        dtype: Any,
    ) -> Self:
        """An empty cache in which every row has room for `max_length` slots.

        `starts` is the first real slot, one for all rows or one each; the slots before it are padding whatever a mask
        says. `shardings` places keys and values, one for both or by `key` and `value`. `pad_token_id` is not read: as
        in HF, masks and not token ids say what is padding.
        """
        del pad_token_id
        if batch_size < 1 or max_length < 1:
            raise ValueError(f"init_cache: expected a positive size, got batch {batch_size}, length {max_length}")
        given = shardings if isinstance(shardings, Mapping) else {"key": shardings, "value": shardings}
        heads = (config.num_key_value_heads, config.head_dim)

        def empty(name: str, size: int) -> Array:
            zeros = jnp.zeros((batch_size, size, *heads), dtype=dtype)
            where = given.get(name)
            return _laid_out(zeros) if where is None else jax.device_put(zeros, where)

        views = [
            TransformerCacheView(empty("key", size), empty("value", size)) for size in layer_sizes(config, max_length)
        ]
        return cls(
            views=tuple(views),
            metadata=TransformerMetadata(
                lengths=jnp.zeros((batch_size,), int),
                starts=jnp.broadcast_to(jnp.asarray(0 if starts is None else starts, int), (batch_size,)),
                real=jnp.zeros((batch_size, max_length), bool),
            ),
        )

    @property
    def batch_size(self) -> int:
        return self.metadata.real.shape[0]

    @property
    def max_length(self) -> int:
        return self.metadata.max_length

    def empty_like(self, batch_size: int) -> Self:
        """An empty cache of the same layers and lengths for another number of rows."""
        views = tuple(
            view.replace(key=_rows(view.key, batch_size, axis=-4), value=_rows(view.value, batch_size, axis=-4))
            for view in self.views
        )
        old = self.metadata
        metadata = old.replace(
            lengths=_rows(old.lengths, batch_size),
            starts=_rows(old.starts, batch_size),
            real=_rows(old.real, batch_size),
        )
        return self.replace(views=views, metadata=metadata)

    def insert(self, rows: Int[Array, "R"] | int, source: Self) -> Self:
        """The cache with `rows` replaced by all rows of `source`, whose max_length may be another.

        The other rows go on as they were. Raises ValueError where the numbers of rows differ.
        """
        rows = jnp.atleast_1d(jnp.asarray(rows))
        if rows.shape != (source.batch_size,):
            raise ValueError(f"insert: expected one row for each of {source.batch_size} sequences, got {rows.shape}")
        if len(self.views) != len(source.views):
            raise ValueError(f"insert: expected {len(self.views)} layers, got {len(source.views)}")
        old, new = self.metadata, source.metadata
        width = min(old.max_length, new.max_length)
        real = jnp.zeros((source.batch_size, old.max_length), bool).at[:, :width].set(new.real[:, :width])

        def inserted(view: TransformerCacheView, other: TransformerCacheView) -> TransformerCacheView:
            return view.rows_from(rows, other, new.lengths)

        over_periods = jax.vmap(inserted) if self.views[0].key.ndim > len(_AXES) else inserted
        return self.replace(
            views=tuple(over_periods(view, other) for view, other in zip(self.views, source.views, strict=True)),
            metadata=old.replace(
                lengths=old.lengths.at[rows].set(new.lengths),
                starts=old.starts.at[rows].set(new.starts),
                real=old.real.at[rows].set(real),
            ),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InsertMetadata(PyTree):
    """Which rows of a running cache the sequences of a call in mode insert replace."""

    rows: Int[Array, "R"]


def _rows(x: Array, batch_size: int, axis: int = 0) -> Array:
    shape = list(x.shape)
    shape[axis] = batch_size
    return jnp.zeros(shape, x.dtype)
