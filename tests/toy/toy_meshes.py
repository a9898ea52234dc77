"""The toy on a mesh, wrong in one way: each is named as `sharded` of a family's candidate."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import jax
import numpy as np
import toy_jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from paritygate.core.cell import MeshLayout


class Partial(nnx.Module):
    """`Matrix`, each device on its part of the contracted axis; `sums` are how often they are added up."""

    def __init__(self, kernel: nnx.Param, mesh: Mesh, sums: int):
        self.kernel, self.mesh, self.sums = kernel, mesh, sums

    def __call__(self, inputs: jax.Array) -> jax.Array:
        def part(x: jax.Array, kernel: jax.Array) -> jax.Array:
            out = x @ kernel.T
            for _ in range(self.sums):
                out = jax.lax.psum(out, "tp")
            return out

        last = PartitionSpec(*(None,) * (inputs.ndim - 1), "tp")
        return jax.shard_map(
            part, mesh=self.mesh, in_specs=(last, PartitionSpec(None, "tp")), out_specs=PartitionSpec(), check_vma=False
        )(inputs, self.kernel[...])


def _summed(model: toy_jax.Toy, mesh: Mesh, layout: MeshLayout, sums: int) -> AbstractContextManager[None]:
    context = toy_jax.sharded(model, mesh, layout)
    if "tp" in dict(layout.axes):
        model.layers[0].down = Partial(model.layers[0].down.kernel, mesh, sums)
    return context


def summed_right(model: toy_jax.Toy, mesh: Mesh, layout: MeshLayout) -> AbstractContextManager[None]:
    """Not wrong: the sum that the compiler makes, by hand."""
    return _summed(model, mesh, layout, 1)


def summed_twice(model: toy_jax.Toy, mesh: Mesh, layout: MeshLayout) -> AbstractContextManager[None]:
    return _summed(model, mesh, layout, 2)


@contextlib.contextmanager
def stale(model: toy_jax.Toy, mesh: Mesh, layout: MeshLayout) -> Iterator[None]:
    """The last device holds gains of another step."""
    weight = model.layers[1].norm.weight
    gains = np.asarray(weight[...])
    toy_jax.sharded(model, mesh, layout)
    last = mesh.devices.flat[-1]
    copies = [jax.device_put(gains * (2 if device == last else 1), device) for device in mesh.local_devices]
    sharding = NamedSharding(mesh, PartitionSpec())
    weight.set_value(jax.make_array_from_single_device_arrays(copies[0].shape, sharding, copies))
    yield
