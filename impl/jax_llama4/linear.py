"""How this model builds a linear layer and draws a random weight."""

from flax import nnx

from jax_llama4.precision import Numerics


def normal_init(std: float) -> nnx.Initializer:
    """The initializer of every matrix: normal, width `initializer_range`."""
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
