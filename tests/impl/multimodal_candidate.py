"""jax_llama4 on the cases of `multimodal_cases`: models with HF's weights, calls, and how far values lie apart."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
from flax import nnx
from impl_cases import under

from jax_llama4 import Llama4Config, Llama4ForConditionalGeneration, Numerics

FLOAT64 = Numerics.like_hf("float64")


def rel_l2(got: Any, expected: Any) -> float:
    expected = np.asarray(expected)
    assert np.shape(got) == expected.shape, (np.shape(got), expected.shape)
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))


def over(drifts: dict[str, float], allowed: float) -> dict[str, float]:
    """Those that are larger than allowed, or no number."""
    assert drifts
    return {name: drift for name, drift in drifts.items() if not drift <= allowed}


def build(
    case: str, hf: dict[str, dict[str, np.ndarray]], numerics: Numerics = FLOAT64, **options: Any
) -> Llama4ForConditionalGeneration:
    config = Llama4Config.from_dict(cases.CONFIGS[case])
    weights = under("weights/", hf[case])
    return Llama4ForConditionalGeneration.from_state_dict(config, weights, numerics=numerics, **options)


def arguments(prompt: cases.ImagePrompt, names: Iterable[str], piece: slice = slice(None)) -> dict[str, Any]:
    """Those fields of the prompt, for these columns; of the pixels, the tiles that lie there."""
    columns = range(prompt.input_ids.shape[1])[piece]
    piece = slice(columns.start, columns.stop)
    tiles = prompt.tiles_in(piece)
    found = {name: jnp.asarray(getattr(prompt, name)[:, piece]) for name in names if name != "pixel_values"}
    if "pixel_values" in names and len(tiles):
        found["pixel_values"] = jnp.asarray(prompt.pixel_values[tiles])
    return found


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
