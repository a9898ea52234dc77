"""From logits to the next token: HF's logits processors as pure functions, in HF's order, and the draw itself.

Every function takes and returns (B, V) scores, and any parameter may be traced: another value compiles nothing anew.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# A Python number or a scalar array for all rows, or an array (B,) with a value for each row.
Parameter = Any


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which processors apply and how strongly; one that is None is not part of the program.

    Numbers and NumPy arrays are checked: ValueError names the field, the allowed range and the value. JAX arrays are
    not read, since they may be traced.
    """

    temperature: Parameter = None  # > 0: divides the scores
    top_k: Parameter = None  # >= 1: the k highest scores stay, and what ties with the lowest of them
    top_p: Parameter = None  # in (0, 1]: the fewest tokens whose probabilities sum to at least p stay
    min_p: Parameter = None  # in [0, 1]: tokens at least p times as probable as the most probable one stay
    repetition_penalty: Parameter = None  # > 0: divides positive scores of tokens already there, multiplies negative

    def __post_init__(self):
        _check("temperature", self.temperature, "iuf", "a number above 0", lambda x: x > 0)
        _check("top_k", self.top_k, "iu", "an integer of at least 1", lambda x: x >= 1)
        _check("top_p", self.top_p, "iuf", "a number in (0, 1]", lambda x: (x > 0) & (x <= 1))
        _check("min_p", self.min_p, "iuf", "a number in [0, 1]", lambda x: (x >= 0) & (x <= 1))
        _check("repetition_penalty", self.repetition_penalty, "iuf", "a number above 0", lambda x: x > 0)

    def draws(self) -> tuple[str, ...]:
        """Names of the set fields that only a random draw reads: all but the penalty."""
        return tuple(name for name in _FIELDS if name != "repetition_penalty" and getattr(self, name) is not None)


_FIELDS = tuple(field.name for field in dataclasses.fields(Sampling))


def _unflatten(_: None, values: Iterable[Any]) -> Sampling:
    sampling = object.__new__(Sampling)  # JAX also rebuilds it from what is no number, so without the checks
    for name, value in zip(_FIELDS, values, strict=True):
        object.__setattr__(sampling, name, value)
    return sampling


jax.tree_util.register_pytree_node(
    Sampling, lambda sampling: ([getattr(sampling, name) for name in _FIELDS], None), _unflatten
)


def process(
    scores: Float[Array, "B V"], sampling: Sampling, seen: Bool[Array, "B V"] | None = None
) -> Float[Array, "B V"]:
    """Apply what `sampling` sets, in HF's order: penalty, temperature, top-k, top-p, min-p.

    `seen` marks the tokens that the penalty applies to; see `mark_seen`. Raises ValueError for a penalty without it.
    """
    if sampling.repetition_penalty is not None:
        if seen is None:
            raise ValueError("repetition_penalty: needs `seen`, the tokens that are already there")
        scores = penalise_repetition(scores, seen, sampling.repetition_penalty)
    if sampling.temperature is not None:
        scores = scale_by_temperature(scores, sampling.temperature)
    if sampling.top_k is not None:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p is not None:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p is not None:
        scores = keep_min_p(scores, sampling.min_p)
    return scores


def penalise_repetition(
    scores: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: Parameter
) -> Float[Array, "B V"]:
    """Make tokens marked in `seen` less likely for a penalty above 1. HF: RepetitionPenaltyLogitsProcessor."""
    penalty = _per_row(penalty, scores)
    return jnp.where(seen, jnp.where(scores < 0, scores * penalty, scores / penalty), scores)


def scale_by_temperature(scores: Float[Array, "B V"], temperature: Parameter) -> Float[Array, "B V"]:
    """Flatten the distribution above 1, sharpen it below. HF: TemperatureLogitsWarper."""
    return scores / _per_row(temperature, scores)


def keep_top_k(scores: Float[Array, "B V"], top_k: Parameter) -> Float[Array, "B V"]:
    """Set all but the k highest scores to -inf; ties with the lowest of them stay. HF: TopKLogitsWarper."""
    vocab = scores.shape[-1]
    rank = jnp.clip(jnp.asarray(top_k), 1, vocab)
    rank = jnp.broadcast_to(rank if rank.ndim == 0 else rank[:, None], (scores.shape[0], 1))
    # A sort and not `lax.top_k`, whose k shapes the result and so cannot be traced.
    lowest_kept = jnp.take_along_axis(jnp.sort(scores, axis=-1), vocab - rank, axis=-1)
    return _remove(scores, scores < lowest_kept)


def keep_top_p(scores: Float[Array, "B V"], top_p: Parameter) -> Float[Array, "B V"]:
    """Set to -inf the least probable tokens that together hold at most 1 - p. HF: TopPLogitsWarper.

    The most probable token stays. Of tokens that tie at the edge, those with higher ids stay. HF: as torch sorts them.
    """
    ascending = jnp.argsort(scores, axis=-1, stable=True)
    probabilities = jax.nn.softmax(jnp.take_along_axis(scores, ascending, axis=-1), axis=-1)
    remove = jnp.cumsum(probabilities, axis=-1) <= _per_row(1 - top_p, scores)
    remove = remove.at[:, -1].set(False)
    rows = jnp.arange(scores.shape[0])[:, None]
    return _remove(scores, jnp.zeros_like(remove).at[rows, ascending].set(remove))


def keep_min_p(scores: Float[Array, "B V"], min_p: Parameter) -> Float[Array, "B V"]:
    """Set to -inf what is less than p times as probable as the most probable token. HF: MinPLogitsWarper."""
    probabilities = jax.nn.softmax(scores, axis=-1)
    highest = jnp.max(probabilities, axis=-1, keepdims=True)
    return _remove(scores, probabilities < _per_row(min_p, scores) * highest)


def draw(key: Array, scores: Float[Array, "B V"]) -> Int[Array, "B"]:
    """One token a row, with the softmax of the scores as its distribution; -inf is never drawn."""
    return jax.random.categorical(key, scores, axis=-1)


def mark_seen(seen: Bool[Array, "B V"], ids: Int[Array, "B T"], counted: Bool[Array, "B T"]) -> Bool[Array, "B V"]:
    """Add the ids to the tokens already there, where `counted`. Ids of V and more are left out. HF: the same."""
    vocab = seen.shape[-1]
    rows = jnp.arange(seen.shape[0])[:, None]
    return seen.at[rows, jnp.where(counted, ids, vocab)].set(True, mode="drop")


def _per_row(value: Parameter, scores: Float[Array, "B V"]) -> Float[Array, "..."]:
    array = jnp.asarray(value, dtype=scores.dtype)
    return array if array.ndim == 0 else array[:, None]


def _remove(scores: Float[Array, "B V"], removed: Bool[Array, "B V"]) -> Float[Array, "B V"]:
    return jnp.where(removed, -jnp.inf, scores)


def _check(name: str, value: Any, kind: str, expected: str, allowed: Callable[[Any], Any]) -> None:
    if value is None or isinstance(value, jax.Array):
        return
    array = np.asarray(value)
    if array.dtype.kind not in kind or array.ndim > 1 or not np.all(allowed(array)):  # NaN is not allowed either
        raise ValueError(f"{name}: expected {expected}, for all rows or one a row, got {value!r}")
