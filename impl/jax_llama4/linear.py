"""How this model builds a linear layer and draws a random weight."""

import functools

from flax import nnx

from jax_llama4.precision import Numerics


@functools.cache
def normal_init(std: float) -> nnx.Initializer:
    """The normal initializer of width `std`; one object per width.

    `nnx.Linear` keeps its initializer as a static attribute, and two closures are never equal: without the cache no
    two layers would have equal graph definitions.
    """
    return nnx.initializers.normal(stddev=std)


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
        rngs=rngs,
    )
