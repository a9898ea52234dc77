"""Builds `jax_llama4` as a candidate from HF's config and weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jax_llama4 import (
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4ForSequenceClassification,
    Numerics,
    PagePool,
    Rules,
    shard_model,
    use_mesh,
)
from jax_llama4.loading import to_state_dict
from jax_llama4.precision import ROLES
from paritygate.core.cell import DtypePolicy, MeshLayout
from paritygate.replay.observe import submodule

CACHE = "past_key_values"
_PAGE_SIZE = 4  # so that a prompt of some dozen slots has several pages and ends within one


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForCausalLM` with the policy's dtypes; raises the candidate's own errors for what it cannot load.

    Its experts run as in HF, all on every token: they are a site of their own, which a dispatch would leave out.
    """
    return _build(Llama4ForCausalLM, config, weights, policy)


def build_classifier(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForSequenceClassification`, as `build`."""
    return _build(Llama4ForSequenceClassification, config, weights, policy)


def build_multimodal(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """`Llama4ForConditionalGeneration`, as `build`."""
    return _build(Llama4ForConditionalGeneration, config, weights, policy)


def _build(cls: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    numerics = numerics_of(policy)
    return cls.from_state_dict(
        cls.config_class.from_dict(dict(config)), weights, numerics=numerics, moe_dispatch="dense"
    )


def numerics_of(policy: DtypePolicy) -> Numerics:
    return Numerics(**{role: jnp.dtype(policy.dtype(role)) for role in ROLES})


@contextmanager
def narrowed(model: Any, path: str, policy: DtypePolicy) -> Iterator[None]:
    """While open, the module at a path and all in it compute in the policy; weights are stored as they were."""
    parts: list[Any] = [part for _, part in nnx.iter_modules(submodule(model, path)) if hasattr(part, "numerics")]
    kept = [part.numerics for part in parts]
    try:
        for part in parts:
            part.numerics = numerics_of(policy)
        yield
    finally:
        for part, numerics in zip(parts, kept, strict=True):
            part.numerics = numerics


def sharded(model: Any, mesh: Mesh, layout: MeshLayout) -> AbstractContextManager[Any]:
    """Moves the parameters onto a mesh; raises the candidate's own error for what the mesh does not divide."""
    rules = Rules.of(**layout.rules)
    shard_model(model, mesh, rules)
    return use_mesh(mesh, rules)


class DenseFeed:
    """Pieces through the dense cache, as they are."""

    placed: Mapping[str, str] = dict.fromkeys(("*.key", "*.value"), "batch length kv_heads head_dim")

    def __init__(self, model: Any, batch: int, length: int):
        self._cache = model.init_cache(batch, length)

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        return given | {CACHE: self._cache}

    def keep(self, cache: Any) -> None:
        self._cache = cache


class PagedFeed:
    """Pieces through pages: each row is a sequence, and a piece is all rows' tokens one after another, (1, B · T)."""

    placed: Mapping[str, str] = dict.fromkeys(("*.key", "*.value"), "- - kv_heads head_dim")

    def __init__(self, model: Any, batch: int, length: int):
        pages = -(-length // _PAGE_SIZE)
        self._pool = PagePool(batch * pages, _PAGE_SIZE, rows=batch, pages_per_row=pages)
        self._cache = model.init_ragged_pages(batch * pages, _PAGE_SIZE)

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        batch, length = given["input_ids"].shape
        flat = {name: given[name].reshape(1, -1) for name in ("input_ids", "position_ids")}
        if "pixel_values" in given:
            flat["pixel_values"] = given["pixel_values"]
        return flat | {CACHE: self._cache, "cache_metadata": self._pool.step([length] * batch, most_new_tokens=length)}

    def keep(self, cache: Any) -> None:
        self._cache = cache


def cache(model: Any, kind: str, batch: int, length: int) -> DenseFeed | PagedFeed:
    """What feeds a prompt of `length` slots through an empty cache; raises ValueError on a kind that there is not."""
    feeds = {"dense": DenseFeed, "paged": PagedFeed}
    if kind not in feeds:
        raise ValueError(f"no cache of kind {kind!r}; known: {', '.join(feeds)}")
    return feeds[kind](model, batch, length)


def parameters(model: Any) -> dict[str, np.ndarray]:
    """Every parameter under HF's tensor names and in its layouts."""
    return to_state_dict(model)


def gradients(
    model: Any, arguments: dict[str, Any], output: str, compiled: Callable[[Any], Any] = jax.jit
) -> dict[str, np.ndarray]:
    """The gradient of a scalar output by every parameter, under HF's tensor names and in its layouts."""
    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)

    def value(weights: Any, rest: Any, arguments: dict[str, Any]) -> jax.Array:
        return getattr(nnx.merge(graphdef, weights, rest)(**arguments), output)

    return to_state_dict(nnx.merge(graphdef, compiled(jax.grad(value))(weights, rest, arguments), rest))
