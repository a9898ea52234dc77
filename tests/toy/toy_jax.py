"""The toy family's candidate."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from paritygate.core.cell import DtypePolicy, MeshLayout


class Tap(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class Norm(nnx.Module):
    def __init__(self, weight: jax.Array, island: str):
        self.weight, self.island = nnx.Param(weight), island

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(self.island)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + 1e-5)
        return normed.astype(x.dtype) * self.weight[...]


class Matrix(nnx.Module):
    def __init__(self, kernel: jax.Array):
        self.kernel = nnx.Param(kernel)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return inputs @ self.kernel[...].T


class Table(nnx.Module):
    def __init__(self, rows: jax.Array):
        self.rows = nnx.Param(rows)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return self.rows[...][inputs]


class Block(nnx.Module):
    def __init__(self, weight: Any, island: str):
        self.norm = Norm(weight("norm.weight"), island)
        self.up = Matrix(weight("up.weight"))
        self.down = Matrix(weight("down.weight"))
        self.tap_active = Tap()

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(self.tap_active(jnp.tanh(self.up(self.norm(x)))))


class Toy(nnx.Module):
    def __init__(self, layers: int, weight: Any, island: str):
        self.embed = Table(weight("embed.weight"))
        self.layers = nnx.List([Block(lambda name, i=i: weight(f"layers.{i}.{name}"), island) for i in range(layers)])
        self.head = Matrix(weight("head.weight"))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def parameters(model: Toy) -> dict[str, jax.Array]:
    """Under the reference's names."""
    found = {"embed.weight": model.embed.rows[...], "head.weight": model.head.kernel[...]}
    for i, layer in enumerate(model.layers):
        found |= {
            f"layers.{i}.norm.weight": layer.norm.weight[...],
            f"layers.{i}.up.weight": layer.up.kernel[...],
            f"layers.{i}.down.weight": layer.down.kernel[...],
        }
    return found


def sharded(model: Toy, mesh: Mesh, layout: MeshLayout) -> AbstractContextManager[None]:
    """Splits the weights of the blocks and of the head; what lies between is left to the compiler."""
    kernels = [(layer.up.kernel, ("mlp", "embed")) for layer in model.layers]
    kernels += [(layer.down.kernel, ("embed", "mlp")) for layer in model.layers]
    kernels += [(model.head.kernel, ("vocab", "embed"))]
    whole = [(model.embed.rows, ("", "")), *((layer.norm.weight, ("",)) for layer in model.layers)]
    for variable, logical in [*kernels, *whole]:
        value = variable[...]
        spec = PartitionSpec(*(axes or None for axes in layout.split(logical, value.shape)))
        variable.set_value(jax.device_put(value, NamedSharding(mesh, spec)))
    return contextlib.nullcontext()


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    return Toy(
        config["layers"],
        lambda name: jnp.asarray(weights[name].astype(policy.dtype("compute"))),
        policy.dtype("norm"),
    )
