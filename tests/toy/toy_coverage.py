"""Toy candidates, and ways to name their parameters, that cover too little or too much, for the tests of coverage."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import toy_jax
from flax import nnx

from paritygate.core.cell import DtypePolicy


def right(model: toy_jax.Toy) -> toy_jax.Toy:
    return model


def grown(model: toy_jax.Toy) -> toy_jax.Toy:
    """With a module and a parameter that the reference does not have, and that nothing uses."""
    model.extra, model.scale = toy_jax.Tap(), nnx.Param(jnp.ones(3))
    return model


def build_grown(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    return grown(toy_jax.build(config, weights, policy))


def reversed_rows(model: toy_jax.Toy) -> toy_jax.Toy:
    model.head.kernel[...] = model.head.kernel[...][::-1]
    return model


def halved(model: toy_jax.Toy) -> toy_jax.Toy:
    model.layers[0].norm.weight[...] = model.layers[0].norm.weight[...] / 2
    return model


def nudged(model: toy_jax.Toy) -> toy_jax.Toy:
    """By less than the golden's bfloat16 can hold."""
    model.head.kernel[...] = model.head.kernel[...] * (1 + 2.0**-12)
    return model


right_parameters = toy_jax.parameters


def cut_parameters(model: toy_jax.Toy) -> dict[str, jax.Array]:
    """Without the head's last row."""
    return right_parameters(model) | {"head.weight": model.head.kernel[...][:-1]}


def repeated_parameters(model: toy_jax.Toy) -> dict[str, jax.Array]:
    """The embedding in the place of the head too."""
    return right_parameters(model) | {"head.weight": model.embed.rows[...]}


def laid_out_parameters(model: toy_jax.Toy) -> dict[str, jax.Array]:
    """One tensor transposed, another split in two."""
    found = right_parameters(model)
    up, down = found.pop("layers.0.up.weight"), found.pop("layers.0.down.weight")
    return found | {"up": up.T, "down.first": down[:4], "down.last": down[4:]}


def computed_parameters(model: toy_jax.Toy) -> dict[str, jax.Array]:
    return right_parameters(model) | {"head.weight": model.head.kernel[...] / 2}


def failing_parameters(model: toy_jax.Toy) -> dict[str, jax.Array]:
    raise KeyError("decoder.weight")
