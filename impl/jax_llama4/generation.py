"""Generation: a batch of prompts into a cache, then one token a row and step, until every row has stopped.

Two programs are compiled: one for the prompt, padded to a bucket, and one for a step, whose shapes never change.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.modes import MODE_DECODE, MODE_PREFILL
from jax_llama4.pytree import PyTree
from jax_llama4.sampling import Sampling, draw, mark_seen, process

# Called once a step with the tokens (B,) on the host, pads in rows that have stopped.
Stream = Callable[[np.ndarray], Any]

SHORTEST_BUCKET = 16
# Stop tokens fill up whole groups of this many, so that another number of them seldom compiles anything anew.
_STOP_GROUP = 8
_NO_TOKEN = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GenerateOutput(PyTree):
    """What `generate` returns: prompts and new tokens, as wide as the longest row needs."""

    sequences: Int[Array, "B T"]  # prompt as given, then the new tokens, then pads
    lengths: Int[Array, "B"]  # new tokens of each row, its stop token included


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Settings(PyTree):
    """What a step reads and never changes. Without a key the most probable token is taken."""

    sampling: Sampling
    stop_ids: Int[Array, "K"]
    pad_id: Int[Array, ""]
    key: Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Rows(PyTree):
    """What the next step needs to know besides the cache."""

    tokens: Int[Array, "B"]  # chosen last, not yet in the cache
    positions: Int[Array, "B"]  # theirs for rope
    finished: Bool[Array, "B"]
    seen: Bool[Array, "B V"] | None  # kept for the repetition penalty only
    step: Int[Array, ""]


class _Programs(NamedTuple):
    prefill: Callable[..., tuple[Any, _Rows]]
    step: Callable[..., tuple[Any, _Rows]]


def generate(
    model: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    max_new_tokens: int,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    min_p: Any = None,
    repetition_penalty: Any = None,
    do_sample: bool = False,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    max_length: int | None = None,
    key: Array | None = None,
    stream: Stream | None = None,
    pixel_values: Any = None,
    image_features: Any = None,
) -> GenerateOutput:
    """Continue each row of `input_ids` (B, T) by up to `max_new_tokens` tokens.

    Prompts of unequal length are padded on the left; `attention_mask` is zero there. Without one, a pad id in
    `input_ids` is taken for padding, unless it is a stop token too. HF: the same.
    `eos_token_id` defaults to the configuration's, () never stops; `pad_token_id` to the configuration's, then to the
    first stop token. With `do_sample` each token is drawn with `key` after the processors of `Sampling`; without, the
    most probable one is taken, and only the repetition penalty applies.
    `max_length` is the capacity of the cache in slots, by default the least power of two that is enough. A call with
    the same batch size, prompt bucket and capacity compiles nothing.
    `pixel_values` are the tiles of all images of a multimodal model's prompts, or `image_features` what its
    `get_image_features` made of them; their number is one of the shapes that a program is compiled for.
    `stream` is called with the tokens of a step while the next one is being computed; what it raises ends the run.
    Raises ValueError for whatever does not fit, before anything is computed.
    """
    config = model.config.get_text_config()
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    _check_choice(sampling, do_sample, key)
    stop_ids, pad_id = _special_tokens(config, eos_token_id, pad_token_id)
    ids = _checked_ids(input_ids, config.vocab_size)
    mask = _checked_mask(attention_mask, ids, pad_id, stop_ids)
    capacity = _capacity(config, mask, max_new_tokens, max_length)
    given = {"pixel_values": pixel_values, "image_features": image_features}
    images = {name: _as_array(name, value) for name, value in given.items() if value is not None}
    if images:
        if not hasattr(model, "check_images"):
            raise ValueError(f"{', '.join(images)}: {type(model).__name__} takes text only")
        model.check_images(ids, **images)
    if max_new_tokens == 0:
        return _output(ids, ids[:, :0], stop_ids)

    graph, state = nnx.split(model)
    weights, structure = jax.tree.flatten(state)  # once: for an nnx.State it would cost as much as a small step
    programs = _programs(graph, structure)
    settings = _Settings(
        sampling=_without_effect_removed(sampling),
        stop_ids=jnp.asarray(_filled_up(stop_ids), int),
        pad_id=jnp.asarray(0 if pad_id is None else pad_id, int),
        key=key if do_sample else None,
    )
    bucket = min(_bucket(ids.shape[1]), capacity)
    padding = ((0, 0), (bucket - ids.shape[1], 0))
    cache, rows = programs.prefill(
        weights,
        np.pad(ids, padding, constant_values=_filling(model.config)),
        np.pad(mask, padding),
        np.asarray(ids.shape[1]),
        images,
        settings,
        capacity=capacity,
    )
    chosen: list[np.ndarray] = []
    while True:
        # The next step is under way before this one's tokens are waited for. HF: defers its check as well.
        more = len(chosen) + 1 < max_new_tokens
        ahead = programs.step(weights, cache, rows, settings) if more else None
        chosen.append(np.asarray(rows.tokens))
        if stream is not None:
            stream(chosen[-1])
        if ahead is None or np.asarray(rows.finished).all():
            break
        cache, rows = ahead
    return _output(ids, np.stack(chosen, axis=1), stop_ids)


def _output(ids: np.ndarray, new: np.ndarray, stop_ids: Sequence[int]) -> GenerateOutput:
    stops = np.isin(new, stop_ids)
    lengths = np.sum(np.cumsum(stops, axis=1) - stops == 0, axis=1)  # no stop token before
    return GenerateOutput(jnp.asarray(np.concatenate([ids, new], axis=1), int), jnp.asarray(lengths, int))


@functools.lru_cache(maxsize=32)
def _programs(graph: Any, structure: Any) -> _Programs:
    """The two programs of all models with one graph definition: the weights are arguments."""

    @functools.partial(jax.jit, static_argnames="capacity")
    def prefill(
        weights: list[Array],
        ids: Array,
        mask: Array,
        length: Array,
        images: dict[str, Array],
        settings: _Settings,
        *,
        capacity: int,
    ):
        model = nnx.merge(graph, jax.tree.unflatten(structure, weights))
        batch, bucket = ids.shape
        ids = ids.astype(int)
        positions = _positions(mask)
        cache = model.init_cache(batch, capacity)
        # What fills up the bucket lies before slot 0, where nothing is kept and nothing is seen.
        lengths = jnp.full_like(cache.metadata.lengths, length - bucket)
        cache = cache.replace(metadata=cache.metadata.replace(lengths=lengths))
        logits, cache = _last_logits(
            model, ids, attention_mask=mask, position_ids=positions, past_key_values=cache, mode=MODE_PREFILL, **images
        )
        seen = None
        if settings.sampling.repetition_penalty is not None:
            # HF: padding on the left is not seen, but what lies in a hole is.
            counted = jnp.cumsum(mask, axis=1) > 0
            seen = mark_seen(jnp.zeros(logits.shape, bool), ids, counted)
        before = _Rows(
            tokens=ids[:, -1],
            positions=positions[:, -1],
            finished=jnp.zeros((batch,), bool),
            seen=seen,
            step=jnp.zeros((), int),
        )
        return cache, _choose(model, logits, before, settings)

    @functools.partial(jax.jit, donate_argnames="cache")
    def step(weights: list[Array], cache: Any, rows: _Rows, settings: _Settings):
        model = nnx.merge(graph, jax.tree.unflatten(structure, weights))
        logits, cache = _last_logits(
            model,
            rows.tokens[:, None],
            position_ids=rows.positions[:, None],
            past_key_values=cache,
            mode=MODE_DECODE,
        )
        return cache, _choose(model, logits, rows, settings)

    return _Programs(prefill, step)


def _last_logits(model: Any, ids: Int[Array, "B T"], **inputs: Any) -> tuple[Float[Array, "B V"], Any]:
    outputs = model(ids, **inputs, logits_to_keep=1)
    return outputs.logits[:, 0], outputs.past_key_values


def _choose(model: Any, logits: Float[Array, "B V"], rows: _Rows, settings: _Settings) -> _Rows:
    """The rows one step on: the next token of each, or a pad where the row had stopped."""
    # HF: takes the logits to float32 for this.
    scores = process(logits.astype(model.numerics.loss), settings.sampling, rows.seen)
    if settings.key is None:
        tokens = jnp.argmax(scores, axis=-1)
    else:
        tokens = draw(jax.random.fold_in(settings.key, rows.step), scores)
    tokens = jnp.where(rows.finished, settings.pad_id, tokens.astype(rows.tokens.dtype))
    seen = rows.seen
    if seen is not None:
        seen = mark_seen(seen, tokens[:, None], jnp.ones((len(tokens), 1), bool))
    return _Rows(
        tokens=tokens,
        positions=rows.positions + 1,
        finished=rows.finished | jnp.any(tokens[:, None] == settings.stop_ids, axis=1),
        seen=seen,
        step=rows.step + 1,
    )


def _positions(mask: Bool[Array, "B T"]) -> Int[Array, "B T"]:
    """Rope positions: real tokens counted from 0, and 0 where there is none. HF: `generate` makes the same."""
    counted = jnp.cumsum(mask, axis=1, dtype=int) - 1
    return jnp.where(mask, counted, 0)


def _without_effect_removed(sampling: Sampling) -> Sampling:
    """HF: leaves out a temperature, top-p or penalty of 1."""
    neutral = {
        name: None
        for name in ("temperature", "top_p", "repetition_penalty")
        if isinstance(getattr(sampling, name), int | float) and getattr(sampling, name) == 1
    }
    return dataclasses.replace(sampling, **neutral)


def _filled_up(stop_ids: tuple[int, ...]) -> tuple[int, ...]:
    groups = max(1, -(-len(stop_ids) // _STOP_GROUP))
    return stop_ids + (_NO_TOKEN,) * (groups * _STOP_GROUP - len(stop_ids))


def _bucket(length: int) -> int:
    return max(SHORTEST_BUCKET, 1 << (length - 1).bit_length())


def _filling(config: Any) -> int:
    """What fills up a bucket: any id but the image token's, whose places are counted."""
    return int(getattr(config, "image_token_index", None) == 0)


def _as_array(name: str, value: Any) -> np.ndarray | Array:
    if isinstance(value, jax.Array):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as reason:  # torch has no NumPy array of bfloat16
        raise ValueError(
            f"{name}: expected an array, got {type(value).__name__}, of which NumPy says: {reason}"
        ) from None
    if array.dtype == object:
        raise ValueError(f"{name}: expected one array, got {type(value).__name__} of several shapes")
    return array


def _check_choice(sampling: Sampling, do_sample: bool, key: Array | None) -> None:
    if do_sample and key is None:
        raise ValueError("key: do_sample needs a key, such as jax.random.key(0)")
    if not do_sample:
        given = (*sampling.draws(), *(("key",) if key is not None else ()))
        if given:
            raise ValueError(f"{', '.join(given)}: only read with do_sample=True")


def _special_tokens(
    config: Any, eos_token_id: int | Sequence[int] | None, pad_token_id: int | None
) -> tuple[tuple[int, ...], int | None]:
    stop = config.eos_token_id if eos_token_id is None else eos_token_id
    stops = () if stop is None else (stop,) if isinstance(stop, int) else tuple(stop)
    pad = config.pad_token_id if pad_token_id is None else pad_token_id
    if pad is None and stops:
        pad = stops[0]  # HF: the same
    for name, values in (("eos_token_id", stops), ("pad_token_id", () if pad is None else (pad,))):
        wrong = [value for value in values if not isinstance(value, int) or isinstance(value, bool)]
        if wrong:
            raise ValueError(f"{name}: expected token ids, got {wrong[0]!r}")
    return stops, pad


def _checked_ids(input_ids: Any, vocab_size: int) -> np.ndarray:
    ids = np.asarray(input_ids)
    if ids.ndim != 2 or 0 in ids.shape:
        raise ValueError(f"input_ids: expected a non-empty (batch, length), got {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"input_ids: expected integers, got {ids.dtype}")
    outside = np.argwhere((ids < 0) | (ids >= vocab_size))
    if len(outside):
        row, column = outside[0]
        raise ValueError(
            f"input_ids: expected ids from 0 to {vocab_size - 1}, got {ids[row, column]} in row {row}, column {column}"
        )
    return ids


def _checked_mask(attention_mask: Any, ids: np.ndarray, pad_id: int | None, stop_ids: Sequence[int]) -> np.ndarray:
    if attention_mask is None:
        return ids != pad_id if pad_id is not None and pad_id not in stop_ids else np.ones(ids.shape, bool)
    mask = np.asarray(attention_mask)
    if mask.shape != ids.shape:
        raise ValueError(f"attention_mask: expected the shape of input_ids, {ids.shape}, got {mask.shape}")
    return mask.astype(bool)


def _capacity(config: Any, mask: np.ndarray, max_new_tokens: int, max_length: int | None) -> int:
    """Slots of the cache; raises ValueError where the prompts cannot be continued, or not that far."""
    for row, real in enumerate(mask):
        if not real.any():
            raise ValueError(f"input_ids: row {row} has no token that is real; begin an empty prompt with bos_token_id")
        if not real[-1]:
            raise ValueError(f"attention_mask: row {row} ends in padding; generation needs it on the left")
    if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens: expected an integer of at least 0, got {max_new_tokens!r}")
    longest = int(mask.sum(axis=1).max()) + max_new_tokens
    if longest > config.max_position_embeddings:
        raise ValueError(
            f"max_new_tokens: the longest row would have {longest} tokens, and max_position_embeddings allows "
            f"{config.max_position_embeddings}"
        )
    slots = mask.shape[1] + max_new_tokens
    if max_length is not None and slots > max_length:
        raise ValueError(
            f"max_length: {mask.shape[1]} slots of prompt and {max_new_tokens} new tokens need {slots}, "
            f"got {max_length}"
        )
    return _bucket(slots) if max_length is None else max_length


class Generation:
    """Mixin of top-level classes with a language-modelling head: generation in one call, or step by step."""

    @functools.wraps(generate)
    def generate(self, *args: Any, **kwargs: Any) -> GenerateOutput:
        return generate(self, *args, **kwargs)

    def prepare_inputs_for_generation(
        self: Any,
        input_ids: Int[Array, "B T"],
        max_length: int,
        pad_token_id: int | None = None,
        starts: int | Int[Array, "B"] | None = None,
        shardings: Any = None,
        attention_mask: Array | None = None,
    ) -> dict[str, Any]:
        """Arguments for the first call besides `input_ids`: an empty cache, the mask of all its slots and positions.

        Slots after the prompt count as real. Positions are `cumsum(mask) - 1` and 0 at padding. Without a mask,
        whatever is not before `starts` is real; `pad_token_id` is not looked for.
        Raises ValueError for a prompt longer than `max_length`, or a mask of another shape than the prompt's.
        """
        batch, length = input_ids.shape
        if length > max_length:
            raise ValueError(f"max_length: the prompt has {length} slots, got {max_length}")
        cache = self.init_cache(batch, max_length, starts, shardings, pad_token_id)
        real = jnp.arange(max_length)[None, :] >= cache.metadata.starts[:, None]
        if attention_mask is not None:
            if attention_mask.shape != (batch, length):
                raise ValueError(f"attention_mask: expected {(batch, length)}, got {attention_mask.shape}")
            real = real.at[:, :length].set(real[:, :length] & attention_mask.astype(bool))
        return {
            "past_key_values": cache,
            "attention_mask": real,
            "position_ids": _positions(real[:, :length]),
        }

    def update_inputs_for_generation(self, model_outputs: Any, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments for the next call: the cache as the last call left it, and the next position of each row."""
        return model_kwargs | {
            "past_key_values": model_outputs.past_key_values,
            "position_ids": model_kwargs["position_ids"][:, -1:] + 1,
        }
