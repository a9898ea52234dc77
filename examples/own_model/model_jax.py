"""The port under test: the same model in JAX, as Flax NNX modules."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Norm(nnx.Module):
    """In `island` throughout, and rounded once, as torch's kernel is."""

    def __init__(self, weight: jax.Array, island: str):
        self.weight, self.island = nnx.Param(weight), island

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(self.island)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
        return (normed * self.weight[...].astype(self.island)).astype(x.dtype)


class Linear(nnx.Module):
    def __init__(self, kernel: jax.Array):
        self.kernel = nnx.Param(kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...].T


class Embed(nnx.Module):
    def __init__(self, rows: jax.Array):
        self.rows = nnx.Param(rows)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.rows[...][tokens]


class Gated(nnx.Module):
    def __init__(self, weight: Callable[[str], jax.Array]):
        self.halves, self.down = Linear(weight("halves.weight")), Linear(weight("down.weight"))

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, up = jnp.split(self.halves(x), 2, axis=-1)
        return self.down(jax.nn.silu(gate) * up)


class Layer(nnx.Module):
    def __init__(self, weight: Callable[[str], jax.Array], island: str):
        self.norm = Norm(weight("norm.weight"), island)
        self.mlp = Gated(lambda name: weight(f"mlp.{name}"))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.mlp(self.norm(x))


class Model(nnx.Module):
    def __init__(self, layers: int, weight: Callable[[str], jax.Array], island: str):
        self.embed = Embed(weight("embed.weight"))
        self.layers = nnx.List([Layer(lambda name, i=i: weight(f"layers.{i}.{name}"), island) for i in range(layers)])
        self.head = Linear(weight("head.weight"))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: Any) -> nnx.Module:
    """What paritygate calls: the model in the dtypes of a policy, `compute` and that of a norm's statistics."""
    compute, island = policy.dtype("compute"), policy.dtype("norm")
    return Model(config["layers"], lambda name: jnp.asarray(weights[name].astype(compute)), island)


def parameters(model: Model) -> dict[str, jax.Array]:
    """The port's parameters under the reference's names: each must be its weight, value for value."""
    found = {"embed.weight": model.embed.rows[...], "head.weight": model.head.kernel[...]}
    for i, layer in enumerate(model.layers):
        found[f"layers.{i}.norm.weight"] = layer.norm.weight[...]
        for name in ("halves", "down"):
            found[f"layers.{i}.mlp.{name}.weight"] = getattr(layer.mlp, name).kernel[...]
    return found
