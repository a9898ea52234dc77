"""How this model builds a linear layer and draws a random weight."""

import string
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.precision import Numerics, accumulation
from jax_llama4.sharding import beside, kept


def normal_init(std: float) -> nnx.Initializer:
    """The initializer of every matrix: normal, width `initializer_range`."""
    return nnx.initializers.normal(stddev=std)


def dot_general(
    x: Float[Array, "*B I"],
    kernel: Float[Array, "..."],
    dimension_numbers: Any,
    precision: Any = None,
    dtype: Any = None,
) -> Float[Array, "*B J"]:
    """`jax.lax.dot_general` of an activation and a matrix, summed in `accumulation` and rounded once.

    To `dtype`, by default the activation's.
    """
    return _wide_product(x, kernel, dimension_numbers, precision).astype(dtype or x.dtype)


def _wide_product(x: Array, kernel: Array, dimension_numbers: Any, precision: Any) -> Array:
    """The product as it is summed, not yet rounded.

    XLA on CPU multiplies 16-bit operands as they are where the product is asked for in 32 bits and has two rows or
    more; otherwise it first writes the whole matrix out in 32 bits, which for one new token is nearly all the time. So
    one row is given a second one, of zeros.
    """
    wide = accumulation(x.dtype)
    alone = wide != x.dtype and x.size == x.shape[-1]
    rows = jnp.pad(x.reshape(1, -1), ((0, 1), (0, 0))) if alone else x
    if alone:
        dimension_numbers = (((1,), dimension_numbers[0][1]), ((), ()))
    split = kept(_letters(rows.ndim, kernel.ndim, dimension_numbers), rows, kernel)
    product = jax.lax.dot_general(
        rows, kernel, dimension_numbers, precision=precision, preferred_element_type=wide, out_sharding=split
    )
    return product[0].reshape(*x.shape[:-1], -1) if alone else product


def _letters(ours: int, theirs: int, dimension_numbers: Any) -> str:
    """A product of operands of these ranks, without batch dimensions, as an einsum writes it."""
    (our_sums, their_sums), _ = dimension_numbers
    x, kernel = list(string.ascii_lowercase[:ours]), list(string.ascii_uppercase[:theirs])
    for our, their in zip(our_sums, their_sums, strict=True):
        kernel[their] = x[our]
    result = [name for name in x + kernel if (name in x) != (name in kernel)]
    return f"{''.join(x)},{''.join(kernel)}->{''.join(result)}"


class Linear(nnx.Module):
    """x @ kernel + bias, rounded once; kernel (in_features, out_features) of width `std`, bias (out_features,) or none.

    `result` is the role that the result is rounded to.
    HF: keeps the transpose of the kernel under the name `weight`. Its kernels add the bias before they round, which
    `nnx.Linear` does not.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        std: float,
        bias: bool = False,
        result: str = "compute",
        numerics: Numerics,
        rngs: nnx.Rngs,
    ):
        self.numerics = numerics
        self.result = result
        self.kernel = nnx.Param(normal_init(std)(rngs.params(), (in_features, out_features), numerics.param))
        self.bias = nnx.Param(jnp.zeros((out_features,), numerics.param)) if bias else None

    def __call__(self, inputs: Float[Array, "*B I"]) -> Float[Array, "*B J"]:
        compute = self.numerics.compute
        over_last = (((inputs.ndim - 1,), (0,)), ((), ()))
        kernel = self.kernel[...].astype(compute)
        product = _wide_product(inputs.astype(compute), kernel, over_last, self.numerics.precision)
        if self.bias is not None:
            product = product + beside(self.bias[...].astype(compute), product).astype(product.dtype)
        return product.astype(getattr(self.numerics, self.result))
