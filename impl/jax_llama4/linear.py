"""How this model builds a linear layer and draws a random weight."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.precision import Numerics, accumulation


def normal_init(std: float) -> nnx.Initializer:
    """The initializer of every matrix: normal, width `initializer_range`."""
    return nnx.initializers.normal(stddev=std)


def dot_general(
    x: Float[Array, "*B I"], kernel: Float[Array, "..."], dimension_numbers: Any, precision: Any = None, **options: Any
) -> Float[Array, "*B J"]:
    """`jax.lax.dot_general` of an activation and a matrix, summed in `accumulation` and rounded once.

    XLA on CPU multiplies 16-bit operands as they are where the product is asked for in 32 bits and has two rows or
    more; otherwise it first writes the whole matrix out in 32 bits, which for one new token is nearly all the time. So
    one row is given a second one, of zeros.
    """
    wide = accumulation(x.dtype)
    alone = wide != x.dtype and x.size == x.shape[-1]
    rows = jnp.pad(x.reshape(1, -1), ((0, 1), (0, 0))) if alone else x
    if alone:
        dimension_numbers = (((1,), dimension_numbers[0][1]), ((), ()))
    product = jax.lax.dot_general(
        rows, kernel, dimension_numbers, precision=precision, preferred_element_type=wide, **options
    ).astype(x.dtype)
    return product[0].reshape(*x.shape[:-1], -1) if alone else product


def linear(
    in_features: int, out_features: int, *, std: float, bias: bool = False, numerics: Numerics, rngs: nnx.Rngs
) -> nnx.Linear:
    """An `nnx.Linear` with kernel (in_features, out_features).

    HF: keeps the transpose, (out_features, in_features), under the name `weight`. With a bias it rounds the sum once;
    `nnx.Linear` rounds the product, then the sum. No released Llama 4 text model has biases.
    """
    return nnx.Linear(
        in_features,
        out_features,
        use_bias=bias,
        dtype=numerics.compute,
        param_dtype=numerics.param,
        precision=numerics.precision,
        kernel_init=normal_init(std),
        dot_general=dot_general,
        rngs=rngs,
    )
