"""jax_llama4 on the cases of `multimodal_cases`: models with HF's weights, calls, and how far values lie apart."""

from typing import Any

import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
from drifts import rel_l2
from flax import nnx
from impl_cases import WHOLE, under

from jax_llama4 import Llama4Config, Llama4ForConditionalGeneration, Numerics

FLOAT64 = Numerics.like_hf("float64")


def build(
    case: str, hf: dict[str, dict[str, np.ndarray]], numerics: Numerics = FLOAT64, **options: Any
) -> Llama4ForConditionalGeneration:
    config = Llama4Config.from_dict(cases.CONFIGS[case])
    weights = under("weights/", hf[case])
    return Llama4ForConditionalGeneration.from_state_dict(config, weights, numerics=numerics, **options)


def arguments(prompt: cases.ImagePrompt, slots: slice = WHOLE, *, without: str = "") -> dict[str, Any]:
    """Arguments of a call with these columns, without those that are named."""
    found = {name: jnp.asarray(value) for name, value in prompt.piece(slots).items()}
    return {name: value for name, value in found.items() if name not in without.split()}


def drifts_by_row(prompt: cases.ImagePrompt, found: Any, expected: np.ndarray) -> dict[str, float]:
    """Of the real tokens of each row: what padding sees differs between the two and means nothing."""
    real = prompt.attention_mask.astype(bool)
    return {name: rel_l2(np.asarray(found)[i][real[i]], expected[i][real[i]]) for i, name in enumerate(prompt.rows)}


def submodule(model: nnx.Module, path: str) -> Any:
    for name in path.split("."):
        model = model[int(name)] if name.isdigit() else getattr(model, name)  # pyright: ignore
    return model


@nnx.jit
def _captured(model: Any, inputs: dict[str, Any]) -> Any:
    _, inner = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)(**inputs)
    return inner


def inside(model: nnx.Module, inputs: dict[str, Any], path: str) -> Any:
    """What the module at this path gave in a call of the model."""
    inner = _captured(model, inputs)
    for name in path.split("."):
        inner = inner[int(name) if name.isdigit() else name]
    return inner["__call__"][0]
