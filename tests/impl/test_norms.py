"""Norms: mean of squares, the order of the two roundings, and eps where it matters."""

import jax.numpy as jnp
import numpy as np

from jax_llama4 import Llama4TextL2Norm, Llama4TextRMSNorm, Numerics

from limits import limit

FLOAT64 = Numerics.uniform("float64")


def test_l2_norm_divides_by_the_root_of_the_mean_square():
    found = Llama4TextL2Norm(0.0, numerics=FLOAT64)(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(found, np.array([3.0, 4.0]) / np.sqrt(12.5), rtol=limit("norm", "f64"))


def test_eps_is_added_to_the_mean_square():
    found = Llama4TextL2Norm(0.75, numerics=FLOAT64)(jnp.array([0.5, -0.5]))
    np.testing.assert_array_equal(found, [0.5, -0.5])


def test_the_weight_multiplies_after_rounding_to_the_compute_dtype():
    numerics = Numerics.like_hf("bfloat16")
    norm = Llama4TextRMSNorm(64, numerics=numerics)
    rng = np.random.default_rng(0)
    norm.weight.set_value(jnp.asarray(rng.uniform(0.5, 1.5, 64), dtype=numerics.param))
    x = jnp.asarray(rng.standard_normal((8, 64)), dtype=numerics.compute)
    wide = x.astype(numerics.norm)
    unweighted = wide / jnp.sqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + 1e-5)
    twice = unweighted.astype(numerics.compute) * norm.weight[...]
    once = (unweighted * norm.weight[...].astype(numerics.norm)).astype(numerics.compute)
    np.testing.assert_array_equal(norm(x), twice)
    assert (np.asarray(norm(x)) != np.asarray(once)).any(), "the data cannot tell one rounding from two"


def test_the_l2_norm_works_in_its_role_and_rounds_once():
    numerics = Numerics.like_hf("bfloat16")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 64)), dtype=numerics.compute)
    wide = Llama4TextL2Norm(1e-5, numerics=Numerics.uniform(numerics.norm))(x.astype(numerics.norm))
    narrow = Llama4TextL2Norm(1e-5, numerics=Numerics.uniform(numerics.compute))(x)
    found = Llama4TextL2Norm(1e-5, numerics=numerics)(x)
    np.testing.assert_array_equal(found, wide.astype(numerics.compute))
    assert (np.asarray(found) != np.asarray(narrow)).any(), "the data cannot tell the roles apart"
