"""What the tests of random configurations share: the calls of one case, its drifts, and how clear its routing is."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from compiling import QUICK
from flax import nnx
from impl_cases import WHOLE, Prompt, pieces

# A choice of experts counts as clear where the gap between the last chosen logit and the first one left is this many
# times what the logits may drift: then no drift within the limit can change it.
CLEAR_X = 1000


class Candidate:
    """A model with the prompt of one case; compiles once for each length of a call."""

    def __init__(self, model: Any, case: Any):
        self.model, self.case = model, case
        graph, self.state = nnx.split(model)

        @functools.partial(jax.jit, compiler_options=QUICK)
        def call(state: Any, inputs: dict[str, jax.Array], cache: Any) -> tuple[Any, Any]:
            out = nnx.merge(graph, state)(**inputs, past_key_values=cache)
            return out.logits, out.past_key_values

        self.call = functools.partial(call, self.state)

    def inputs(self, slots: slice) -> dict[str, jax.Array]:
        return {name: jnp.asarray(value) for name, value in self.case.prompt.piece(slots).items()}

    def uncached(self) -> np.ndarray:
        return np.asarray(self.call(self.inputs(WHOLE), None)[0])

    def cached(self) -> np.ndarray:
        split = self.case.split
        cache, logits = self.model.init_cache(len(self.case.prompt.rows), sum(split) + self.case.spare), []
        for slots in pieces(split):
            out, cache = self.call(self.inputs(slots), cache)
            logits.append(np.asarray(out))
        return np.concatenate(logits, axis=1)

    def drifts(self, hf: dict[str, np.ndarray]) -> dict[str, float]:
        """By way and row, against the arrays of the same names."""
        found = {"uncached": self.uncached(), "cached": self.cached()}
        return {
            f"{how}, {row}": drift
            for how, logits in found.items()
            for row, drift in worst_tokens(self.case.prompt, logits, hf[how]).items()
        }


def worst_tokens(prompt: Prompt, found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """The worst real token of each row; what padding sees differs between the two and means nothing."""
    assert found.shape == expected.shape
    by_token = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    real = prompt.attention_mask.astype(bool)
    return {name: float(np.max(by_token[i][real[i]])) for i, name in enumerate(prompt.rows)}


def routing_margin(router_logits: np.ndarray, top_k: int) -> float:
    """The smallest gap between the last expert chosen and the first one left, over the rms of the logits."""
    if top_k == router_logits.shape[-1]:
        return np.inf
    ordered = -np.sort(-router_logits, axis=-1)
    return float(np.min(ordered[:, top_k - 1] - ordered[:, top_k]) / np.sqrt(np.mean(router_logits**2)))


def routing_margins(prompt: Prompt, router_logits: dict[str, np.ndarray], top_k: int) -> list[float]:
    """Those of the real tokens, layer by layer."""
    real = prompt.attention_mask.astype(bool).reshape(-1)
    return [routing_margin(logits[real], top_k) for logits in router_logits.values()]
