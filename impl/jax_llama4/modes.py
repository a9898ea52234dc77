"""The four modes of a call, and which of them a call is in where it does not say."""

from typing import Literal, get_args

Mode = Literal["__train__", "__prefill__", "__autoregressive__", "__insert__"]

CacheKind = Literal["none", "dense", "paged"]

MODE_TRAIN: Mode = "__train__"  # no cache
MODE_PREFILL: Mode = "__prefill__"  # several tokens a row, into a cache
MODE_DECODE: Mode = "__autoregressive__"  # one token a row, into a cache
MODE_INSERT: Mode = "__insert__"  # a new sequence into some rows of a cache whose other rows run on


def resolve_mode(mode: Mode | None, tokens: int, cache: CacheKind) -> Mode:
    """The mode, inferred where it is None; raises ValueError for one that does not fit the call.

    A paged cache takes rows of one token and of many in one call, so there it may be either of prefill and decode.
    """
    if mode is None:
        if cache == "none":
            return MODE_TRAIN
        return MODE_DECODE if tokens == 1 else MODE_PREFILL
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
    if (cache == "none") != (mode == MODE_TRAIN):
        raise ValueError(f"mode {mode}: expected {'no cache' if mode == MODE_TRAIN else 'a cache'}, got {cache}")
    if mode == MODE_DECODE and cache == "dense" and tokens != 1:
        raise ValueError(f"mode {mode}: expected one new token a row, got {tokens}")
    if mode == MODE_INSERT and cache == "paged":
        raise ValueError(f"mode {mode}: a paged cache needs none, give the new sequence a row of the page table")
    return mode
