"""The full-size candidate with a fault planted: weights that every device gathers, or is given whole."""

import dataclasses
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from paritygate.replay.compiling import Abstract
from paritygate.replay.llama4_full import abstract


def gathering(*given: Any) -> Abstract:
    """Every device gathers a weight of the shared expert."""
    program = abstract(*given)
    whole = NamedSharding(program.mesh, PartitionSpec())

    def gathered(path: Any, weight: Any) -> Any:
        if "['shared_expert']['down_proj']" not in jax.tree_util.keystr(path):
            return weight
        return jax.lax.with_sharding_constraint(weight, whole)  # planted

    def function(weights: Any, *rest: Any) -> Any:
        return program.function(jax.tree_util.tree_map_with_path(gathered, weights), *rest)

    return dataclasses.replace(program, function=function)


def replicating(*given: Any) -> Abstract:
    """Every device is given the experts whole, where each should have a part of its own."""
    program = abstract(*given)
    whole = NamedSharding(program.mesh, PartitionSpec())

    def placed(path: Any, weight: Any) -> Any:
        if "['experts']" not in jax.tree_util.keystr(path):
            return weight
        return jax.ShapeDtypeStruct(weight.shape, weight.dtype, sharding=whole)

    weights, *rest = program.arguments
    return dataclasses.replace(program, arguments=(jax.tree_util.tree_map_with_path(placed, weights), *rest))
