"""A stack of layers, decoder or vision: one after another or scanned, recomputed in the backward pass or not."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.outputs import DecoderLayerOutput


class StackOutput(NamedTuple):
    """What the layers give, first to last; `entering` are the hidden states before each, where they were asked for.

    What a vision layer does not have, router logits and cache views, is empty or None.
    """

    hidden_states: Float[Array, "B T D"]
    entering: tuple[Float[Array, "B T D"], ...]
    attentions: tuple[Float[Array, "B N T S"], ...]
    router_logits: tuple[Float[Array, "M E"], ...]
    views: tuple[Any, ...]


# A layer of the stack, from its number and its random numbers.
BuildLayer = Callable[[int, nnx.Rngs], Any]


def period_of(kinds: Sequence[Hashable]) -> int:
    """The least number of layers after which kinds repeat; it divides their number, which it is where none repeats."""
    kinds = list(kinds)
    count = len(kinds)
    return next(p for p in range(1, count + 1) if count % p == 0 and kinds == kinds[:p] * (count // p))


def build_layers(build: BuildLayer, kinds: Sequence[Hashable], rngs: nnx.Rngs, *, scan_layers: bool) -> list[Any]:
    """All layers, or where they are scanned those of one period, each standing for all of its place.

    Every weight of such a layer has a leading axis over the periods; its `layer_numbers` are the layers it stands for,
    in the order of that axis.
    """
    if not scan_layers:
        return [build(number, rngs) for number in range(len(kinds))]
    period = period_of(kinds)

    def stacked(numbers: tuple[int, ...]) -> Any:
        graphdef: Any = None

        def draw(key: Array) -> Any:
            nonlocal graphdef
            graphdef, state = nnx.split(build(numbers[0], nnx.Rngs(params=key)))
            return state

        states = jax.vmap(draw)(jax.random.split(rngs.params(), len(numbers)))
        layer: Any = nnx.merge(graphdef, states)
        layer.layer_numbers = numbers
        return layer

    return [stacked(tuple(range(place, len(kinds), period))) for place in range(period)]


def is_stacked(layers: Any) -> bool:
    """Whether the layers were built to be scanned."""
    return hasattr(layers[0], "layer_numbers")


def stack_views(views: tuple[Any, ...], period: int) -> tuple[Any, ...]:
    """One cache view a layer to one a place of the period, with a leading axis over the periods."""
    return tuple(jax.tree.map(lambda *leaves: jnp.stack(leaves), *views[place::period]) for place in range(period))


def remat_policy(name: str) -> Any:
    """The member of `jax.checkpoint_policies` of this name; raises ValueError for one that is not there."""
    policy = getattr(jax.checkpoint_policies, name, None)
    if policy is None:
        known = [word for word in dir(jax.checkpoint_policies) if not word.startswith("_")]
        raise ValueError(f"remat_policy: expected one of {', '.join(known)}, got {name!r}")
    return policy


def checked_policy(name: str | None) -> str | None:
    """The name itself, where `remat_policy` knows it."""
    if name is not None:
        remat_policy(name)
    return name


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """What all layers of one pass are told: words are static, arrays may be differentiated."""

    words: dict[str, Any]
    arrays: dict[str, Any]
    remat: str | None
    keep_entering: bool

    def __call__(self, layer: Any, hidden_states: Array, view: Any) -> DecoderLayerOutput:
        arrays = self.arrays if view is None else self.arrays | {"cache_view": view}
        if self.remat is None:
            return layer(hidden_states, **self.words, **arrays)
        graphdef, state = nnx.split(layer)

        def run(state: Any, hidden_states: Array, arrays: dict[str, Any]) -> DecoderLayerOutput:
            return nnx.merge(graphdef, state)(hidden_states, **self.words, **arrays)

        return jax.checkpoint(run, policy=remat_policy(self.remat))(state, hidden_states, arrays)


def run_unrolled(
    layers: Any, hidden_states: Float[Array, "B T D"], views: tuple[Any, ...], call: LayerCall
) -> StackOutput:
    """The layers one after another; `views` has one cache view each, or None."""
    entering, outputs = [], []
    for layer, view in zip(layers, views, strict=True):
        if call.keep_entering:
            entering.append(hidden_states)
        outputs.append(call(layer, hidden_states, view))
        hidden_states = outputs[-1].hidden_states
    return StackOutput(
        hidden_states,
        tuple(entering),
        tuple(out.attention_weight for out in outputs),
        tuple(out.router_logits for out in outputs if out.router_logits is not None),
        tuple(out.cache_view for out in outputs),
    )


def run_scanned(
    layers: Any, hidden_states: Float[Array, "B T D"], views: tuple[Any, ...], call: LayerCall
) -> StackOutput:
    """A scan over the periods; `views` are stacked as the layers are, see `stack_views`, or None.

    The program holds one period only, so it compiles in the time of one whatever the depth.
    """
    graphdef, state = nnx.split(layers)

    def one_period(hidden_states: Array, xs: tuple[Any, tuple[Any, ...]]) -> tuple[Array, StackOutput]:
        state, views = xs
        out = run_unrolled(nnx.merge(graphdef, state), hidden_states, views, call)
        return out.hidden_states, out._replace(hidden_states=None)

    hidden_states, out = jax.lax.scan(one_period, hidden_states, (state, views))
    return StackOutput(
        hidden_states, _by_layer(out.entering), _by_layer(out.attentions), _by_layer(out.router_logits), out.views
    )


def _by_layer(stacked: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values of the places of a period, stacked over the periods, as one a layer in the order of the layers."""
    present = [leaves for leaves in stacked if leaves is not None]
    periods = len(present[0]) if present else 0
    return tuple(leaves[period] for period in range(periods) for leaves in present)


def run_layers(
    layers: Any, hidden_states: Float[Array, "B T D"], views: tuple[Any, ...], call: LayerCall
) -> StackOutput:
    """The layers as they were built: scanned where they are stacked."""
    run = run_scanned if is_stacked(layers) else run_unrolled
    return run(layers, hidden_states, views, call)
