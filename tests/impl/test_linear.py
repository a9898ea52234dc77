"""Products with a weight: summed wide, rounded once, and the same for one row alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_llama4 import Numerics
from jax_llama4.linear import Linear, dot_general
from jax_llama4.precision import accumulation

from limits import limit

DTYPES = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1, 5), (2, 5), (1, 3, 5)])
@pytest.mark.parametrize("side", [0, 1])
def test_a_product_and_its_gradients_are_those_of_the_wide_one_rounded_once(side, shape, name):
    rng = np.random.default_rng(0)
    dtype = jnp.dtype(DTYPES[name])
    x = jnp.asarray(rng.standard_normal(shape), dtype)
    kernel = jnp.asarray(rng.standard_normal((5, 7) if side == 0 else (7, 5)), dtype)
    dimensions = (((x.ndim - 1,), (side,)), ((), ()))
    found, backward = jax.vjp(lambda x, kernel: dot_general(x, kernel, dimensions), x, kernel)
    exact, exact_backward = jax.vjp(
        lambda x, kernel: jnp.tensordot(x, kernel, axes=(-1, side)), x.astype("float64"), kernel.astype("float64")
    )
    assert (found.shape, found.dtype) == (exact.shape, dtype)
    ones = jnp.ones_like(found)
    pairs = zip([found, *backward(ones)], [exact, *exact_backward(ones.astype("float64"))], strict=True)
    for value, expected in pairs:
        assert value.dtype == dtype
        scale = np.linalg.norm(x.astype("float64")) * np.linalg.norm(kernel.astype("float64"))
        np.testing.assert_allclose(value.astype("float64"), expected, atol=limit("dot", name, 7) * scale, rtol=0)


@pytest.mark.parametrize("rows", [1, 2])
def test_on_cpu_no_weight_is_widened_whatever_the_number_of_rows(rows):
    kernel = jnp.ones((8, 16), "bfloat16")
    text = jax.jit(lambda x, kernel: dot_general(x, kernel, (((1,), (0,)), ((), ())))).lower(
        jnp.ones((rows, 8), "bfloat16"), kernel
    )
    assert "tensor<2x8xbf16>, tensor<8x16xbf16>) -> tensor<2x16xf32>" in text.as_text()


def test_sums_are_at_least_32_bits_wide():
    assert [accumulation(name).name for name in DTYPES.values()] == ["float64", "float32", "float32", "float32"]


@pytest.mark.parametrize("name", DTYPES)
def test_a_bias_is_added_before_the_product_is_rounded(name):
    # Product and bias nearly cancel, so that a product rounded first leaves nothing of the sum.
    dtype = jnp.dtype(DTYPES[name])
    layer = Linear(2, 1, std=1.0, bias=True, numerics=Numerics.like_hf(dtype), rngs=nnx.Rngs(0))
    small = 2.0 ** -(jnp.finfo(dtype).nmant + 1)
    layer.kernel.set_value(jnp.asarray([[1.0], [1.0]], dtype))
    layer.bias.set_value(jnp.asarray([-1.0], dtype))
    kept = 0.0 if dtype.itemsize > 2 else small  # wider dtypes are summed in themselves, where 1 + small is 1
    assert float(layer(jnp.asarray([[1.0, small]], dtype))[0, 0]) == kept
