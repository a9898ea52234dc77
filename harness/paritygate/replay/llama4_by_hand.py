"""Parts of `jax_llama4` on a mesh, written by hand with `jax.shard_map`: what faults of sharding are made of.

The candidate leaves communication to the compiler. A fault puts calls of these into its functions, to do what a port
does that communicates itself. On one device, and in layouts that do not split the axis, nothing is done by hand.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jax_llama4.precision import accumulation
from jax_llama4.sharding import active_placement

Names = Sequence[str | None]  # a logical axis for each dimension


def mesh_axes(logical: str) -> tuple[str, ...]:
    """The mesh axes that split a logical axis; none without a mesh."""
    placement = active_placement()
    return placement.rules.mesh_axes(logical) if placement else ()


def ways(logical: str) -> int:
    """Into how many parts the mesh splits a logical axis."""
    placement = active_placement()
    return placement.ways(mesh_axes(logical)) if placement else 1


def on_each_device(body: Callable[..., jax.Array], given: Sequence[tuple[jax.Array, Names]], gives: Names) -> jax.Array:
    """What `body` makes of each device's parts of the arrays, put together along `gives`.

    Along a dimension that nothing splits each device's result is taken for the whole.
    """
    placement = active_placement()
    assert placement is not None

    def spec(names: Names) -> PartitionSpec:
        return placement.rules.spec(names)

    mapped = jax.shard_map(
        body,
        mesh=placement.mesh,
        in_specs=tuple(spec(names) for _, names in given),
        out_specs=spec(gives),
        check_vma=False,  # the checker refuses some of these faults, and a port may have it off
    )
    return mapped(*(array for array, _ in given))


def split_sum(
    right: jax.Array,
    x: jax.Array,
    kernel: jax.Array,
    contracted: str,
    reduced: Callable[[jax.Array, tuple[str, ...]], jax.Array],
) -> jax.Array:
    """`right`, which is x @ kernel; where a mesh splits the sum, each device's part of it, joined as `reduced` says."""
    if ways(contracted) == 1:
        return right
    axes = mesh_axes(contracted)

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        part = jnp.matmul(x, kernel, preferred_element_type=accumulation(x.dtype))
        return reduced(part, axes).astype(right.dtype)

    rows: Names = (None,) * (x.ndim - 1)
    given = ((x, (*rows, contracted)), (kernel.astype(x.dtype), (contracted, None)))
    return on_each_device(product, given, (*rows, None))


def dealt(x: jax.Array, logical: str, dimension: int) -> jax.Array:
    """What lies in turn on one device after another where blocks are expected: 0, 2, 1, 3 on two of them."""
    parts = x.shape[dimension] // ways(logical)
    split = (*x.shape[:dimension], parts, ways(logical), *x.shape[dimension + 1 :])
    return x.reshape(split).swapaxes(dimension, dimension + 1).reshape(x.shape)


def top_k_of_parts(logits: jax.Array, top_k: int) -> jax.Array:
    """The choice among experts, each device choosing among its own: as many as its share of `top_k`."""
    if ways("expert") == 1:
        return jax.lax.top_k(logits, top_k)[1]
    axes = mesh_axes("expert")

    def choice(own: jax.Array) -> jax.Array:
        return jax.lax.top_k(own, top_k // ways("expert"))[1] + jax.lax.axis_index(axes) * own.shape[1]

    return on_each_device(choice, ((logits, (None, "expert")),), (None, "expert"))


def slots_of_parts(slots: jax.Array) -> jax.Array:
    """Slots counted by each device from where its part begins, which all but the first take for one too few."""
    if ways("length") == 1 or slots.size % ways("length"):
        return slots
    axes = mesh_axes("length")

    def counted(own: jax.Array) -> jax.Array:
        device = jax.lax.axis_index(axes)
        return jnp.arange(own.size, dtype=own.dtype) + device * own.size - (device > 0)

    return on_each_device(counted, ((slots, ("length",)),), ("length",))


def whole_parts(x: jax.Array, logical: str, dimension: int) -> jax.Array:
    """`x` with zeros for what is left when every device has a part of equal length."""
    size = x.shape[dimension]
    kept = size - size % ways(logical) if size >= ways(logical) else size
    index = jnp.arange(size).reshape(-1, *(1,) * (x.ndim - 1 - dimension))
    return jnp.where(index < kept, x, jnp.zeros_like(x))


def stale(right: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`right`, which is x @ kernel; where a mesh splits the batch, all devices but the first have an earlier kernel."""
    if ways("batch") == 1:
        return right
    axes = mesh_axes("batch")

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        own = jnp.where(jax.lax.axis_index(axes) > 0, kernel * (1 - 1 / 64), kernel).astype(x.dtype)
        return jnp.matmul(x, own, preferred_element_type=accumulation(x.dtype)).astype(right.dtype)

    rows: Names = ("batch", *(None,) * (x.ndim - 1))
    return on_each_device(product, ((x, rows), (kernel.astype(x.dtype), (None, None))), rows)
