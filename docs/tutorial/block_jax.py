"""The candidate: the same blocks in Flax NNX."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from paritygate.core.cell import DtypePolicy

Weight = Callable[[str], jax.Array]  # a tensor by its name in the reference, in the cell's dtype


class Tap(nnx.Module):
    """Gives an inner value an address; changes nothing."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class Embed(nnx.Module):
    def __init__(self, rows: jax.Array):
        self.rows = nnx.Param(rows)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.rows[...][tokens]


class Linear(nnx.Module):
    def __init__(self, kernel: jax.Array):
        self.kernel = nnx.Param(kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...].T


class RMSNorm(nnx.Module):
    def __init__(self, weight: jax.Array, island: str):
        self.weight, self.island = nnx.Param(weight), island

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(self.island)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + 1e-6)
        return normed.astype(x.dtype) * self.weight[...]


class GatedMLP(nnx.Module):
    def __init__(self, weight: Weight):
        self.gate = Linear(weight("gate.weight"))
        self.up = Linear(weight("up.weight"))
        self.down = Linear(weight("down.weight"))
        self.tap_gelu = Tap()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(self.tap_gelu(jax.nn.gelu(self.gate(x))) * self.up(x))


class Block(nnx.Module):
    def __init__(self, weight: Weight, island: str):
        self.norm = RMSNorm(weight("norm.weight"), island)
        self.mlp = GatedMLP(lambda name: weight(f"mlp.{name}"))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.mlp(self.norm(x))


class Model(nnx.Module):
    def __init__(self, layers: int, weight: Weight, island: str):
        self.embed = Embed(weight("embed.weight"))
        self.layers = nnx.List([Block(lambda name, i=i: weight(f"layers.{i}.{name}"), island) for i in range(layers)])

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return x


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    def weight(name: str) -> jax.Array:
        return jnp.asarray(weights[name].astype(policy.dtype("compute")))

    return Model(config["layers"], weight, policy.dtype("norm"))


def parameters(model: Model) -> dict[str, jax.Array]:
    """The parameters under the reference's names and in its layouts."""
    found = {"embed.weight": model.embed.rows[...]}
    for i, layer in enumerate(model.layers):
        found[f"layers.{i}.norm.weight"] = layer.norm.weight[...]
        for name in ("gate", "up", "down"):
            found[f"layers.{i}.mlp.{name}.weight"] = getattr(layer.mlp, name).kernel[...]
    return found
