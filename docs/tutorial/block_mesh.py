"""The candidate on a mesh: where each weight lies; what lies between is left to the compiler."""

import contextlib
from contextlib import AbstractContextManager

import jax
from block_jax import Model
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from paritygate.core.cell import MeshLayout


def sharded(model: Model, mesh: Mesh, layout: MeshLayout) -> AbstractContextManager[None]:
    """Moves each weight onto the mesh, split by the layout's rules for the logical axes of its dimensions."""
    placed = [(model.embed.rows, ("", ""))]
    for layer in model.layers:
        placed += [
            (layer.norm.weight, ("",)),
            (layer.mlp.gate.kernel, ("mlp", "embed")),
            (layer.mlp.up.kernel, ("mlp", "embed")),
            (layer.mlp.down.kernel, ("embed", "mlp")),
        ]
    for variable, logical in placed:
        value = variable[...]
        spec = PartitionSpec(*(axes or None for axes in layout.split(logical, value.shape)))
        variable.set_value(jax.device_put(value, NamedSharding(mesh, spec)))
    return contextlib.nullcontext()
