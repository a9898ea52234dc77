"""Ways to be wrong about who sees whom in Llama 4 and what a cache keeps, as replacements of HF's functions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Original = Callable[..., Any]

# Masks

_See = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def _mask(
    original: Original,
    see: _See,
    kept: _See | None = None,
    real: bool = True,
    padded: str = "before the first",
    **kwargs: Any,
) -> Tensor:
    """A mask by a rule on query slots, key slots, the row's first real slot, and the size of a chunk.

    A key that is not `kept` is not there for a query that sees nothing either.
    """
    made = original(**kwargs)
    filled = kwargs["attention_mask"].bool()
    length, (*_, queries, keys) = filled.shape[1], made.shape
    query = (length - queries + torch.arange(queries))[None, :, None]
    key = (length - keys + torch.arange(keys))[None, None, :]
    first = ((filled.cumsum(1) == 0) if padded == "before the first" else ~filled).sum(1)[:, None, None]
    seen = see(query, key, first, kwargs["config"].attention_chunk_size)
    if real:
        seen = seen & filled[:, None, length - keys :]
    mask = torch.zeros_like(made).masked_fill(~seen[:, None], torch.finfo(made.dtype).min)
    if kept is None:
        return mask
    return mask.masked_fill(~kept(query, key, first, kwargs["config"].attention_chunk_size)[:, None], -torch.inf)


def _same_chunk(q: Tensor, k: Tensor, chunk: int) -> Tensor:
    return q.div(chunk, rounding_mode="floor") == k.div(chunk, rounding_mode="floor")


full_sees_next = partial(_mask, see=lambda q, k, first, chunk: k <= q + 1)
full_not_itself = partial(_mask, see=lambda q, k, first, chunk: k < q)
full_sees_all = partial(_mask, see=lambda q, k, first, chunk: k < q.max() + 1 + 0 * q)
full_sees_padding = partial(_mask, see=lambda q, k, first, chunk: k <= q + 0 * first, real=False)
chunk_sees_next = partial(_mask, see=lambda q, k, first, chunk: (k <= q + 1) & _same_chunk(q - first, k - first, chunk))
chunk_not_itself = partial(_mask, see=lambda q, k, first, chunk: (k < q) & _same_chunk(q - first, k - first, chunk))
chunk_sees_all = partial(_mask, see=lambda q, k, first, chunk: _same_chunk(q - first, k - first, chunk))
chunk_sees_padding = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk), real=False
)
full_chunked = partial(_mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk))
chunk_missing = partial(_mask, see=lambda q, k, first, chunk: k <= q)
chunk_one_longer = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk + 1)
)
chunk_one_shorter = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk - 1)
)
chunk_of_query_early = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q + 1 - first, k - first, chunk)
)
chunk_of_key_early = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k + 1 - first, chunk)
)
chunks_one_slot_early = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q + 1 - first, k + 1 - first, chunk)
)
chunks_one_slot_late = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - 1 - first, k - 1 - first, chunk)
)
chunks_from_slot_0 = partial(_mask, see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q, k, chunk))
window_for_chunk = partial(_mask, see=lambda q, k, first, chunk: (k <= q) & (q - k < chunk))
window_within_chunk = partial(
    _mask,
    see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk) & (q - k < chunk - 1),
)
full_by_slots = partial(_mask, see=lambda q, k, first, chunk: k <= q + 0 * first, real=False)
chunk_by_slots = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q + 0 * first) & _same_chunk(q, k, chunk), real=False
)
chunk_after_all_padding = partial(
    _mask,
    see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk),
    padded="anywhere",
)
full_within_a_piece = partial(_mask, see=lambda q, k, first, chunk: k <= q - q.min())
chunk_within_a_piece = partial(
    _mask,
    see=lambda q, k, first, chunk: (k <= q - q.min()) & _same_chunk(q - q.min() - first, k - first, chunk),
)
full_of_the_last = partial(_mask, see=lambda q, k, first, chunk: k <= q.max() + 0 * q)
chunk_of_the_last = partial(
    _mask, see=lambda q, k, first, chunk: (k <= q.max() + 0 * q) & _same_chunk(q.max() - first, k - first, chunk)
)
chunk_not_of_one_token = partial(
    _mask,
    see=lambda q, k, first, chunk: (k <= q) & ((q.shape[1] == 1) | _same_chunk(q - first, k - first, chunk)),
)
full_of_a_piece_alone = partial(_mask, see=lambda q, k, first, chunk: (k <= q) & (k >= q.min()))
chunk_of_a_piece_alone = partial(
    _mask,
    see=lambda q, k, first, chunk: (
        (k <= q) & (k >= q.min()) & _same_chunk(q - first.clamp(min=q.min()), k - first.clamp(min=q.min()), chunk)
    ),
)
ring_one_slot_short = partial(
    _mask,
    see=lambda q, k, first, chunk: (
        (k <= q) & _same_chunk(q - first, k - first, chunk) & ((q.shape[1] > 1) | (q - k < chunk - 1))
    ),
)
ring_read_after_written = partial(
    _mask,
    see=lambda q, k, first, chunk: (k <= q) & _same_chunk(q - first, k - first, chunk),
    kept=lambda q, k, first, chunk: k > q.max() - chunk + 0 * q,
)

# What a cache keeps. HF's layers give back what is kept and what is new, one after the other.


def kept_in_bf16(original: Original, self: Any, keys: Tensor, values: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    """A piece is read back from what is kept, but for a longer one in a ring, which may no longer hold all of it."""
    kept = original(self, *(new.bfloat16().to(new.dtype) for new in (keys, values)), *args)
    length = keys.shape[2]
    if not self.is_sliding or length == 1:
        return kept
    return torch.cat([kept[0][:, :, :-length], keys], dim=2), torch.cat([kept[1][:, :, :-length], values], dim=2)


def all_kept(original: Original, self: Any, sliding_window: int, *args: Any, **kwargs: Any) -> None:
    """In chunked layers too, as pages do."""
    original(self, 1_000_000, *args, **kwargs)
