"""Each arithmetic does what its row says: within its bound of exact products, and as far from them as it must be."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from paritygate.audit.arithmetic import ARITHMETICS, CONTRACTIONS, emulated, rules
from paritygate.audit.rounding import E4M3, E5M2, to_bf16, to_f16, to_float8, to_tf32, truncated_to_bf16
from paritygate.catalog.select import families, policies
from paritygate.core.errors import UsageError

from limits import EMULATED

NAMES = tuple(ARITHMETICS)
RNG = np.random.default_rng(5)


def product(name: str, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(emulated(lambda a, b: a @ b, name, weights=(1,)))(lhs, rhs))


def exactly(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """By rational arithmetic, rounded once to float64."""
    columns = [[Fraction(float(x)) for x in column] for column in rhs.T]
    rows = [[Fraction(float(x)) for x in row] for row in lhs]
    return np.array([[float(sum(a * b for a, b in zip(r, c, strict=True))) for c in columns] for r in rows])


def cancelling() -> tuple[np.ndarray, np.ndarray]:
    """Large products that leave next to nothing."""
    a, b = RNG.standard_normal((3, 8)), RNG.standard_normal((8, 3))
    return np.hstack([a, -a * (1 + 1e-6)]), np.vstack([b, b])


ADVERSARIAL = {
    "random": (RNG.standard_normal((4, 40)), RNG.standard_normal((40, 5))),
    "cancelling": cancelling(),
    "wide": (RNG.standard_normal((3, 9)) * 10.0 ** RNG.integers(-4, 4, (3, 9)), RNG.standard_normal((9, 4))),
    "one": (np.full((1, 1), 1 + 2.0**-12), np.full((1, 1), 1 - 2.0**-10)),
    "subnormal": (RNG.standard_normal((2, 6)) * 2.0**-130, RNG.standard_normal((6, 2))),
    "zeros": (np.zeros((2, 5)), RNG.standard_normal((5, 2))),
    "ties": (np.full((2, 4), 1 + 2.0**-8), np.full((4, 2), 1 + 2.0**-11)),
    "empty": (np.zeros((2, 0)), np.zeros((0, 3))),
}


@pytest.mark.parametrize("case", [case for case in ADVERSARIAL if case != "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_within_its_bound_of_the_exact_product(name: str, case: str) -> None:
    lhs, rhs = (x.astype(np.float32) for x in ADVERSARIAL[case])
    far = np.abs(product(name, lhs, rhs).astype(np.float64) - exactly(lhs, rhs))
    assert (far <= ARITHMETICS[name].bound(lhs, rhs)).all()


@pytest.mark.parametrize("name", NAMES)
def test_on_random_matrices_it_is_as_far_off_as_theory_says(name: str) -> None:
    lhs, rhs = (RNG.standard_normal(shape).astype(np.float32) for shape in ((64, 256), (256, 64)))
    exact = lhs.astype(np.float64) @ rhs.astype(np.float64)
    off = float(np.linalg.norm(product(name, lhs, rhs) - exact) / np.linalg.norm(exact))
    least, most = EMULATED[name].between
    assert least <= off <= most, f"{off:.2e}"


def test_every_arithmetic_has_its_limits_and_every_policy_its_arithmetic() -> None:
    assert set(EMULATED) == set(NAMES)
    swept = {matmul for aspect in families()["llama4"].aspects for matmul in aspect.matmul.values()}
    assert {policy.matmul for policy in policies().values()} | swept == {"", *NAMES}
    with pytest.raises(UsageError, match=r"^unknown matmul arithmetic: bf16x2\n"):
        rules("bf16x2")
    assert set(rules("tf32")) == set(CONTRACTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_stays_so_and_taints_nothing_else(name: str) -> None:
    lhs, rhs = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
    lhs[0, 1], lhs[1, 2] = np.inf, np.nan
    found = product(name, lhs, rhs)
    assert not np.isfinite(found[:2]).any()
    if ARITHMETICS[name].scale != "tensor":  # one scale for all has the infinity in it
        assert (found[2] == 4).all()
    if not name.startswith("e4m3-t") and name != "e4m3-channel":
        assert (found[0] == np.inf).all()


@pytest.mark.parametrize("name", ["bf16x3", "bf16x6"])
def test_an_infinite_operand_has_a_remainder_that_is_dropped(name: str) -> None:
    infinite, finite = np.array([[np.inf, 1]], np.float32), np.array([[1], [2]], np.float32)
    assert product(name, infinite, finite) == product(name, finite.T, infinite.T) == np.inf


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 448.0, 464.0, 500.0, 65504.0, 65520.0, 57344.0], np.float32
)
VALUES = np.concatenate([SPECIAL, (RNG.standard_normal(4000) * 10.0 ** RNG.integers(-8, 5, 4000)).astype(np.float32)])
TIES = (1 + np.arange(64, dtype=np.float32) / 32) * np.float32(0.015625)


@pytest.mark.parametrize(
    ("format", "dtype"), [(E4M3, ml_dtypes.float8_e4m3fn), (E5M2, ml_dtypes.float8_e5m2)], ids=["e4m3", "e5m2"]
)
def test_float8_is_what_ml_dtypes_rounds_to_and_saturates(format: tuple[int, int, float], dtype: type) -> None:
    values = np.concatenate([VALUES, TIES])
    expected = np.clip(values, -format[2], format[2]).astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(lambda x: to_float8(x, E4M3 if format == E4M3 else E5M2))(values), expected)


def test_bf16_and_f16_are_what_ml_dtypes_and_numpy_round_to() -> None:
    normal = VALUES[~(np.abs(VALUES) < 2.0**-126) | (VALUES == 0)]
    np.testing.assert_array_equal(jax.jit(to_bf16)(normal), normal.astype(ml_dtypes.bfloat16).astype(np.float32))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(jax.jit(to_f16)(normal), normal.astype(np.float16).astype(np.float32))


def test_tf32_keeps_ten_bits_and_takes_a_tie_away_from_zero() -> None:
    ties = np.array([1 + 2.0**-11, -1 - 2.0**-11, 1 + 3 * 2.0**-11, np.inf, np.nan], np.float32)
    expected = np.array([1 + 2.0**-10, -1 - 2.0**-10, 1 + 2.0**-9, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(jax.jit(to_tf32)(ties), expected)
    np.testing.assert_array_equal(truncated_to_bf16(np.float32(1 + 2.0**-7 + 2.0**-8)), np.float32(1 + 2.0**-7))


def test_a_sum_in_float16_loses_what_one_in_float32_keeps() -> None:
    ones = np.ones((1, 8192), np.float32)
    assert product("f16-accumulate", ones, ones.T) == 8192, "every partial sum is a multiple of its spacing"
    ones[0, 8] = 1 + 2.0**-10
    small = np.concatenate([np.full((1, 8), 256.0), np.full((1, 800), 2.0**-4)], axis=1).astype(np.float32)
    assert product("f16-accumulate", small, np.ones((808, 1), np.float32)) == 2048, "half a spacing, a hundred times"
    assert product("bf16-accumulate", small, np.ones((808, 1), np.float32)) == 2048
    assert product("bf16-accumulate", ones[:, :16], ones[:, :16].T) == 16, "operands are not rounded, the total is"
    assert product("bf16-accumulate", ones[:, 8:9], np.ones((1, 1), np.float32)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_batched_ragged_and_convolved_products(name: str) -> None:
    left, right = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 5, 16), (2, 3, 16, 4)))
    batched = jax.jit(emulated(jnp.matmul, name, weights=(1,)))(left, right)
    one = [[product(name, a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(left, right, strict=True)]
    if ARITHMETICS[name].scale == "channel":
        for i, j in np.ndindex(2, 3):  # the order of a sum apart
            apart = np.abs(np.asarray(batched)[i, j] - one[i][j])
            assert (apart <= ARITHMETICS["bf16x6"].bound(left[i, j], right[i, j])).all()
    images, kernel = (RNG.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 6, 6), (2, 3, 2, 2)))
    convolved = emulated(lambda x, k: jax.lax.conv(x, k, (2, 2), "VALID"), name, weights=(1,))
    ragged = emulated(lambda x, k: jax.lax.ragged_dot(x, k, jnp.array([2, 3])), name, weights=(1,))
    rows, groups = left[0, 0], right[0, :2]
    if name.endswith("-accumulate"):
        with pytest.raises(UsageError, match=r"no such product in this arithmetic: ragged_dot_general at"):
            ragged(rows, groups)
        return
    assert not np.array_equal(convolved(images, kernel), jax.lax.conv(images, kernel, (2, 2), "VALID"))
    found = np.asarray(ragged(rows, groups))
    for part, group in ((slice(0, 2), 0), (slice(2, 5), 1)):
        exact = rows[part].astype(np.float64) @ groups[group].astype(np.float64)
        bound = ARITHMETICS[name].bound(rows, groups[group])[part]
        if ARITHMETICS[name].scale == "channel":
            assert (np.abs(found[part] - exact) <= bound).all()


def test_weights_alone_are_rounded_and_only_they() -> None:
    lhs, rhs = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 16), (16, 4)))
    plain = jax.jit(jnp.matmul)(lhs, rhs)
    for name in ("int8-weights", "e4m3-weights"):
        activations = jax.jit(emulated(jnp.matmul, name))(lhs, rhs)
        np.testing.assert_array_equal(activations, jax.jit(emulated(jnp.matmul, name, weights=()))(lhs, rhs))
        assert not np.array_equal(jax.jit(emulated(jnp.matmul, name, weights=(1,)))(lhs, rhs), plain)
        assert (np.abs(np.asarray(activations) - plain) <= ARITHMETICS["bf16x6"].bound(lhs, rhs)).all()


def test_a_gradient_is_rounded_to_e5m2_and_nothing_else_is() -> None:
    g = np.float32(1 + 2.0**-3)  # e4m3 holds it exactly, e5m2 rounds it to 1

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return ((x @ w) * jnp.array([g, 1.75])).sum()  # scales of a power of two

    x, w = np.ones((1, 1), np.float32), np.ones((1, 2), np.float32)
    gradient = jax.jit(emulated(jax.grad(loss, argnums=(0, 1)), "e4m3-tensor", weights=(1,)))(x, w)
    assert gradient[0] == 2.75 and (gradient[1] == np.array([1.0, 1.75])).all()


def test_a_product_in_float64_is_refused_and_one_of_whole_numbers_is_exact() -> None:
    with jax.enable_x64(True), pytest.raises(UsageError, match="no such product in this arithmetic: dot_general at"):
        emulated(jnp.matmul, "tf32")(np.ones((2, 2)), np.ones((2, 2)))
    whole = np.arange(1000, 1004, dtype=np.int32).reshape(2, 2)
    np.testing.assert_array_equal(emulated(jnp.matmul, "bf16x1")(whole, whole), whole @ whole)
