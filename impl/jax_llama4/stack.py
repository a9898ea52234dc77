"""Running the decoder layers: one after another, each recomputed in the backward pass where a policy says so."""

from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.decoder import Llama4TextDecoderLayer
from jax_llama4.outputs import DecoderLayerOutput


class StackOutput(NamedTuple):
    """What the layers give, first to last; `entering` are the hidden states before each."""

    hidden_states: Float[Array, "B T D"]
    entering: tuple[Float[Array, "B T D"], ...]
    attentions: tuple[Float[Array, "B N T S"], ...]
    router_logits: tuple[Float[Array, "M E"], ...]
    views: tuple[Any, ...]


def remat_policy(name: str) -> Any:
    """The member of `jax.checkpoint_policies` of this name; raises ValueError for one that is not there."""
    policy = getattr(jax.checkpoint_policies, name, None)
    if policy is None:
        known = [word for word in dir(jax.checkpoint_policies) if not word.startswith("_")]
        raise ValueError(f"remat_policy: expected one of {', '.join(known)}, got {name!r}")
    return policy


def run_layer(
    layer: Llama4TextDecoderLayer, remat: str | None, hidden_states: Array, view: Any, shared: dict[str, Any]
) -> DecoderLayerOutput:
    """One layer; `shared` are the arguments all layers have in common, of which arrays may be differentiated."""
    if remat is None:
        return layer(hidden_states, cache_view=view, **shared)
    graphdef, state = nnx.split(layer)
    arrays = {name: value for name, value in shared.items() if not isinstance(value, bool | str)}
    words = {name: value for name, value in shared.items() if name not in arrays}

    def run(state: Any, hidden_states: Array, view: Any, arrays: dict[str, Any]) -> DecoderLayerOutput:
        return nnx.merge(graphdef, state)(hidden_states, cache_view=view, **arrays, **words)

    return jax.checkpoint(run, policy=remat_policy(remat))(state, hidden_states, view, arrays)


def run_unrolled(
    layers: Any, remat: str | None, hidden_states: Float[Array, "B T D"], views: tuple[Any, ...], shared: dict[str, Any]
) -> StackOutput:
    """The layers one after another; `views` has one cache view each, or None."""
    entering, attentions, router_logits, new_views = [], [], [], []
    for layer, view in zip(layers, views, strict=True):
        entering.append(hidden_states)
        out = run_layer(layer, remat, hidden_states, view, shared)
        hidden_states = out.hidden_states
        attentions.append(out.attention_weight)
        router_logits.append(out.router_logits)
        new_views.append(out.cache_view)
    return StackOutput(
        hidden_states,
        tuple(entering),
        tuple(attentions),
        tuple(logits for logits in router_logits if logits is not None),
        tuple(new_views),
    )
