"""Matrix products of rows with their own expert's kernel, at the cost of the routed rows and not of all experts.

Rows lie sorted by expert: the first `sizes[0]` belong to expert 0, the next `sizes[1]` to expert 1, and so on. Three
ways to multiply them, one result: `tiled` walks the groups in tiles of fixed height, `ragged` is `jax.lax.ragged_dot`,
and `auto` is tiled on CPU, where XLA expands a ragged product to all experts' work, and ragged elsewhere. `dense` is
not grouped at all: every expert multiplies every token.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jax_llama4.precision import accumulation
from jax_llama4.sharding import Placement, require_auto

Dispatch = Literal["auto", "dense", "tiled", "ragged"]
Grouped = Literal["auto", "tiled", "ragged"]
# Which axis of the kernels (E, I, J) meets the rows: I, or J as in the product with the transposed kernels.
Contracted = Literal["in", "out"]

# Below this height a tile costs as much as at this height; above the other, padding costs more than a kernel's reuse.
LOWEST_TILE, HIGHEST_TILE = 4, 64


def check_dispatch(word: str) -> Dispatch:
    """The word itself; raises ValueError for one that is no Dispatch."""
    for known in get_args(Dispatch):
        if word == known:
            return known
    raise ValueError(f"moe_dispatch: expected one of {', '.join(get_args(Dispatch))}, got {word!r}")


def dispatch_under(how: Dispatch, placement: Placement | None) -> Dispatch:
    """What `how` means under a placement: `auto` is dense where a mesh splits tokens or experts, or has Explicit axes.

    There the dense form is divided among the devices as it stands, and no kernel leaves its own. Sorting would mix the
    tokens of all devices, and walking the groups would ask each for the kernels of all.
    Raises ShardingError for another form under Explicit axes: a group of rows has no sharding that a type could say.
    """
    if placement is not None and placement.explicit:
        if how not in ("auto", "dense"):
            require_auto(f"{how} products of experts", "say moe_dispatch='dense', or make_mesh(..., axis_types='auto')")
        return "dense"
    if how != "auto" or placement is None:
        return how
    split = any(placement.ways(placement.rules.mesh_axes(axis)) > 1 for axis in ("batch", "length", "expert"))
    return "dense" if split else how


def sort_by_expert(
    experts: Int[Array, "R"], num_experts: int
) -> tuple[Int[Array, "R"], Int[Array, "R"], Int[Array, "E"]]:
    """The stable order that groups rows by expert, its inverse, and the sizes of the groups.

    A row whose expert is `num_experts` belongs to nobody: it comes last and is not counted.
    """
    order = jnp.argsort(experts, stable=True)
    sizes = jnp.sum(experts[:, None] == jnp.arange(num_experts, dtype=experts.dtype), axis=0, dtype=experts.dtype)
    return order, jnp.argsort(order), sizes


def permute(x: Shaped[Array, "R *D"], order: Int[Array, "R"], inverse: Int[Array, "R"]) -> Shaped[Array, "R *D"]:
    """`x[order]`, whose gradient is a gather by `inverse` and not a scatter."""
    return _permute(x, order, inverse)


def grouped_dot(
    rows: Float[Array, "R W"],
    kernels: Float[Array, "E I J"],
    sizes: Int[Array, "E"],
    how: Grouped,
    precision: Any,
    contracted: Contracted = "in",
) -> Float[Array, "R V"]:
    """Each row times its expert's kernel: (R, I) to (R, J), or with `contracted="out"` (R, J) to (R, I).

    What it holds in rows after the last group is not specified. Differentiable any number of times, in reverse mode.
    """
    return _dot(rows, kernels, sizes, how, precision, contracted)


def grouped_outer(
    left: Float[Array, "R I"], right: Float[Array, "R J"], sizes: Int[Array, "E"], how: Grouped, precision: Any
) -> Float[Array, "E I J"]:
    """Each expert's sum over its rows of left row × right row, zero for no rows: the gradient of the kernels."""
    return _outer(left, right, sizes, how, precision)


# The gradients are written out because a loop of data-dependent length has none of its own. Products of one kind have
# gradients of the other, so the two are enough.
_permute: Any = jax.custom_vjp(lambda x, order, inverse: x[order])
_permute.defvjp(
    lambda x, order, inverse: (permute(x, order, inverse), (order, inverse)),
    lambda kept, gradient: (permute(gradient, kept[1], kept[0]), None, None),
)


def _dot_value(
    rows: Array, kernels: Array, sizes: Array, how: Grouped, precision: Any, contracted: Contracted
) -> Array:
    options = {"precision": precision, "contracted": contracted}
    tiled, ragged = functools.partial(_tiled_dot, **options), functools.partial(_ragged_dot, **options)
    return _by_platform(how, tiled, ragged, rows, kernels, sizes)


def _dot_forward(rows: Array, kernels: Array, sizes: Array, how: Grouped, precision: Any, contracted: Contracted):
    return _dot(rows, kernels, sizes, how, precision, contracted), (rows, kernels, sizes)


def _dot_backward(how: Grouped, precision: Any, contracted: Contracted, kept: tuple[Array, ...], gradient: Array):
    rows, kernels, sizes = kept
    other: Contracted = "out" if contracted == "in" else "in"
    rows_gradient = grouped_dot(gradient, kernels, sizes, how, precision, other)
    sides = (rows, gradient) if contracted == "in" else (gradient, rows)
    return _in_a_group(rows_gradient, sizes), grouped_outer(*sides, sizes, how, precision), None


_dot: Any = jax.custom_vjp(_dot_value, nondiff_argnums=(3, 4, 5))
_dot.defvjp(_dot_forward, _dot_backward)


def _outer_value(left: Array, right: Array, sizes: Array, how: Grouped, precision: Any) -> Array:
    tiled = functools.partial(_tiled_outer, precision=precision)
    ragged = functools.partial(_ragged_outer, precision=precision)
    return _by_platform(how, tiled, ragged, left, right, sizes)


def _outer_forward(left: Array, right: Array, sizes: Array, how: Grouped, precision: Any):
    return _outer(left, right, sizes, how, precision), (left, right, sizes)


def _outer_backward(how: Grouped, precision: Any, kept: tuple[Array, ...], gradient: Array):
    left, right, sizes = kept
    left_gradient = grouped_dot(right, gradient, sizes, how, precision, "out")
    right_gradient = grouped_dot(left, gradient, sizes, how, precision, "in")
    return _in_a_group(left_gradient, sizes), _in_a_group(right_gradient, sizes), None


_outer: Any = jax.custom_vjp(_outer_value, nondiff_argnums=(3, 4))
_outer.defvjp(_outer_forward, _outer_backward)


def _by_platform(how: Grouped, tiled: Callable[..., Array], ragged: Callable[..., Array], *operands: Array) -> Array:
    """Decided when a program is lowered, so that compiling for an accelerator from a CPU takes the accelerator's."""
    if how == "auto":
        return jax.lax.platform_dependent(*operands, cpu=tiled, default=ragged)
    return (tiled if how == "tiled" else ragged)(*operands)


def _in_a_group(rows: Float[Array, "R I"], sizes: Int[Array, "E"]) -> Float[Array, "R I"]:
    """Zeros in place of the rows after the last group."""
    inside = jnp.arange(rows.shape[0], dtype=sizes.dtype) < jnp.sum(sizes, dtype=sizes.dtype)
    return jnp.where(inside[:, None], rows, jnp.zeros_like(rows))


def tile_height(rows: int, num_experts: int) -> int:
    """A power of two near the mean size of a group."""
    mean = -(-rows // num_experts)
    return min(max(1 << (mean - 1).bit_length(), LOWEST_TILE), HIGHEST_TILE)


def _tiled_dot(
    rows: Float[Array, "R W"],
    kernels: Float[Array, "E I J"],
    sizes: Int[Array, "E"],
    precision: Any,
    contracted: Contracted,
) -> Float[Array, "R V"]:
    """Each group's rows in tiles; a group's last tile may write past its end, where the next group writes after it."""
    tile = tile_height(rows.shape[0], kernels.shape[0])
    axis = 0 if contracted == "in" else 1
    multiply = functools.partial(_multiply, axes=(1, axis), precision=precision)

    def group(operands: Any, expert: Array, first: Array, end: Array, out: Array) -> Array:
        kernels, rows = operands

        def write(operands: Any, row: Array, out: Array) -> Array:
            kernel, rows = operands
            product = multiply(jax.lax.dynamic_slice_in_dim(rows, row, tile), kernel)
            return jax.lax.dynamic_update_slice_in_dim(out, product.astype(out.dtype), row, axis=0)

        kernel = jax.lax.dynamic_index_in_dim(kernels, expert, keepdims=False)
        return _each_tile(first, end, tile, (kernel, rows), write, out)

    out = jnp.zeros((rows.shape[0] + tile, kernels.shape[2 - axis]), rows.dtype)
    return _each_group(sizes, (kernels, _padded(rows, tile)), group, out)[: rows.shape[0]]


def _tiled_outer(
    left: Float[Array, "R I"], right: Float[Array, "R J"], sizes: Int[Array, "E"], precision: Any
) -> Float[Array, "E I J"]:
    tile = tile_height(left.shape[0], sizes.shape[0])
    multiply = functools.partial(_multiply, axes=(0, 0), precision=precision)

    def group(operands: Any, expert: Array, first: Array, end: Array, out: Array) -> Array:
        def add(operands: Any, row: Array, total: Array) -> Array:
            inside = (row + jnp.arange(tile, dtype=row.dtype) < end)[:, None]
            tiles = (jax.lax.dynamic_slice_in_dim(side, row, tile) for side in operands)
            left, right = (jnp.where(inside, side, jnp.zeros_like(side)) for side in tiles)
            return total + multiply(left, right)

        total = jnp.zeros(out.shape[1:], accumulation(out.dtype))
        total = _each_tile(first, end, tile, operands, add, total)
        return jax.lax.dynamic_update_index_in_dim(out, total.astype(out.dtype), expert, axis=0)

    out = jnp.zeros((sizes.shape[0], left.shape[1], right.shape[1]), left.dtype)
    return _each_group(sizes, (_padded(left, tile), _padded(right, tile)), group, out)


def _multiply(left: Array, right: Array, axes: tuple[int, int], precision: Any) -> Array:
    """The product over one axis of each, not yet rounded to 16 bits."""
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(
        left, right, dimensions, precision=precision, preferred_element_type=accumulation(left.dtype)
    )


def _padded(rows: Float[Array, "R W"], tile: int) -> Float[Array, "P W"]:
    return jnp.pad(rows, ((0, tile), (0, 0)))


def _each_group(
    sizes: Int[Array, "E"], operands: Any, body: Callable[[Any, Array, Array, Array, Any], Any], carried: Any
) -> Any:
    """`body(operands, expert, first row, end, carried)` for every expert that has rows, in order."""
    ends = jnp.cumsum(sizes, dtype=sizes.dtype)

    def step(state: tuple[Array, Any]) -> tuple[Array, Any]:
        first, carried = state
        expert = jnp.sum(ends <= first, dtype=sizes.dtype)  # as many groups have ended, the empty ones among them
        end = ends[expert]
        seen, expert = _as_if_changing(operands, expert)
        return end, body(seen, expert, first, end, carried)

    return jax.lax.while_loop(lambda state: state[0] < ends[-1], step, (jnp.zeros_like(ends[0]), carried))[1]


def _each_tile(
    first: Array, end: Array, tile: int, operands: Any, body: Callable[[Any, Array, Any], Any], carried: Any
) -> Any:
    """`body(operands, first row of the tile, carried)` for tiles from `first` on until `end` is reached."""

    def step(state: tuple[Array, Any]) -> tuple[Array, Any]:
        row, carried = state
        seen, row = _as_if_changing(operands, row)
        return row + tile, body(seen, row, carried)

    return jax.lax.while_loop(lambda state: state[0] < end, step, (first, carried))[1]


def _as_if_changing(operands: Any, index: Array) -> tuple[Any, Array]:
    """The same values, tied to the loop's index, so that nothing done to `operands` can be moved out of the loop.

    XLA on CPU slices 16-bit arrays by way of 32 bits, and would widen the kernels of all experts ahead of the loop.
    """
    return jax.lax.optimization_barrier((operands, index))


def _ragged_dot(
    rows: Float[Array, "R W"],
    kernels: Float[Array, "E I J"],
    sizes: Int[Array, "E"],
    precision: Any,
    contracted: Contracted,
) -> Float[Array, "R V"]:
    kernels = kernels if contracted == "in" else kernels.swapaxes(1, 2)
    product = jax.lax.ragged_dot(
        rows,
        kernels,
        sizes,
        precision=_asked(precision, rows, kernels),
        preferred_element_type=accumulation(rows.dtype),
    )
    return product.astype(rows.dtype)


_SUM_OVER_ROWS = jax.lax.RaggedDotDimensionNumbers(
    dot_dimension_numbers=(((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
)


def _ragged_outer(
    left: Float[Array, "R I"], right: Float[Array, "R J"], sizes: Int[Array, "E"], precision: Any
) -> Float[Array, "E I J"]:
    product = jax.lax.ragged_dot_general(
        left,
        right,
        sizes,
        _SUM_OVER_ROWS,
        precision=_asked(precision, left, right),
        preferred_element_type=accumulation(left.dtype),
    )
    return product.astype(left.dtype)


def _asked(precision: Any, *operands: Array) -> Any:
    """None where no operand has over 8 significant bits: every unit multiplies those exactly.

    For them a TPU's kernel refuses HIGHEST. Float16 has 11, which a unit of bfloat16 would round without a word.
    """
    return None if all(jnp.finfo(operand.dtype).nmant < 8 for operand in operands) else precision
