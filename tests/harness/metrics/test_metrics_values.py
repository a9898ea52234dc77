"""Each metric against values worked out by hand, or by another formula."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paritygate.metrics.base import LARGEST, difference, metrics, norm, quotient, unit_roundoff

from limits import limit

FINITE = st.floats(-1e3, 1e3, allow_subnormal=False)


def value(name: str, golden, got, dtype: str = "float32") -> float:
    return metrics()[name].compute(np.array(golden, np.float64), np.array(got, np.float64), dtype)


def test_roundoffs():
    dtypes = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"]
    assert [unit_roundoff(d) for d in dtypes] == [2.0**-53, 2.0**-24, 2.0**-11, 2.0**-8, 2.0**-4]


@given(arrays(np.float64, (2, 3), elements=FINITE), st.integers(-900, 900))
def test_norm_scales_exactly_by_powers_of_two(values, power):
    norm_of_scaled = norm(np.ldexp(values, power))
    expected = math.ldexp(norm(values), power)
    assert abs(norm_of_scaled - expected) <= limit("sum", "f64", values.size) * expected


def test_norm_neither_overflows_nor_underflows():
    assert norm(np.array([3 * 2.0**700, 4 * 2.0**700])) == 5 * 2.0**700
    assert norm(np.array([3 * 2.0**-700, 4 * 2.0**-700])) == 5 * 2.0**-700
    assert norm(np.zeros(3)) == 0.0
    assert norm(np.array([1.7e308, 1.7e308])) == LARGEST


def test_difference_and_quotient_stay_finite():
    assert difference(np.array([1.7e308]), np.array([-1.7e308]))[0] == -LARGEST
    assert quotient(0.0, 0.0) == 0.0
    assert quotient(1.0, 0.0) == LARGEST
    assert quotient(1e200, 1e-200) == LARGEST
    assert quotient(3.0, 2.0) == 1.5


def test_rel_l2_and_its_degenerate_cases():
    assert value("rel_l2", [[3.0, 4.0]], [[0.0, 0.0]]) == 1.0
    assert value("rel_l2", [[0.0, 0.0]], [[0.0, 1e-30]]) == LARGEST
    assert value("rel_l2", [[3e200, 4e200]], [[3e200, 9e200]]) == 1.0


def test_a_sum_of_many_rows_is_taken_in_float64():
    # In float32 the second term would vanish in the first.
    golden, got = np.array([[2.0**30, 1.0]]), np.array([[2.0**30, 1.0 + 2.0**-20]])
    assert metrics()["max_abs"].compute(golden, got, "float32") == 2.0**-20


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_rounding_to_a_dtype_costs_at_most_half_an_ulp(dtype):
    golden = np.random.default_rng(0).standard_normal((4, 200))
    got = golden.astype(np.dtype(dtype)).astype(np.float64)
    ulp = value("max_ulp", golden, got, dtype)
    assert 0.4 < ulp <= 0.5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("golden", [1.0, 1.5, -2.0, 0.0, 3e-5, 6e-8, 1e-310])
def test_one_step_of_the_dtype_is_one_ulp(dtype, golden):
    kind = np.dtype(dtype).type
    start = np.array(golden).astype(kind)
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[start.dtype.itemsize]
    following = (start.view(bits) + bits(1)).view(kind)  # the next larger magnitude
    got = value("max_ulp", [[float(start)]], [[float(following)]], dtype)
    assert got == 1.0


def test_cosine_ignores_scale_and_sign_turns_it():
    vector = np.random.default_rng(1).standard_normal((3, 5))
    assert abs(value("cosine", vector, 7 * vector) - 1.0) <= limit("dot", "f64", vector.size)
    assert value("cosine", vector, -vector) == -1.0
    assert value("cosine", [[0.0]], [[0.0]]) == 1.0
    assert value("cosine", [[0.0]], [[1.0]]) == 0.0


@given(arrays(np.float64, (2, 4), elements=FINITE), arrays(np.float64, (2, 4), elements=FINITE))
def test_sqnr_is_rel_l2_in_decibels(golden, got):
    ratio, decibels = value("rel_l2", golden, got), value("sqnr", golden, got)
    if 0.0 < ratio < LARGEST:
        expected = min(max(-20.0 * math.log10(ratio), -400.0), 400.0)  # values near 1e-308 pass the cap
        # Two logarithms of magnitudes up to about 300, and their difference.
        assert abs(decibels - expected) <= 20 * limit("transcendental", "f64") * 2 * 330
    else:
        assert decibels == (400.0 if ratio == 0.0 else -400.0)


def test_sqnr_is_capped():
    assert value("sqnr", [[1.0]], [[1.0]]) == 400.0
    assert value("sqnr", [[0.0]], [[1.0]]) == -400.0
    assert value("sqnr", [[1e200]], [[1e200 * (1 + 2**-52)]]) < 400.0


def test_agreement_counts_equal_elements():
    assert value("agreement", [[0, 1, 2, 3]], [[0, 1, 2, 0]], "int32") == 0.75
    assert metrics()["agreement"].drift(0.75) == 0.25


@given(arrays(np.float64, (3, 5), elements=st.floats(-8, 8)), arrays(np.float64, (3, 5), elements=st.floats(-8, 8)))
def test_kl_is_the_textbook_sum(golden, got):
    def log_softmax(x):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    log_p, log_q = log_softmax(golden), log_softmax(got)
    expected = float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
    # The textbook form subtracts logarithms, each of which is rounded at its own size.
    size = float((np.exp(log_p) * (np.abs(log_p) + np.abs(log_q))).sum(axis=1).max())
    assert abs(value("kl", golden, got) - expected) <= limit("softmax", "f64") * max(size, 1.0)


@given(arrays(np.float64, (2, 6), elements=st.floats(-5, 5)))
def test_kl_of_equal_or_shifted_logits_is_nothing(logits):
    assert value("kl", logits, logits) == 0.0
    assert value("kl", logits, logits + 1.0) <= limit("transcendental", "f64") ** 2 * 6**2


def test_kl_sees_drifts_far_below_float64_roundoff_of_the_sum():
    logits = np.array([[0.0, 0.0]])
    moved = np.array([[1e-10, -1e-10]])
    expected = 0.5e-20  # p·δ²/2, δ = ±1e-10
    assert abs(value("kl", logits, moved) - expected) <= 1e-10 * 4 * limit("transcendental", "f64")


def test_kl_of_opposed_certainties_is_their_distance():
    assert value("kl", [[0.0, -1000.0]], [[-1000.0, 0.0]]) == 1000.0


def test_top1_takes_the_first_of_equal_largest():
    assert value("top1", [[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]) == 1.0
    assert value("top1", [[1.0, 1.0]], [[0.0, 1.0]]) == 0.0


def test_bf16_logits_are_read_as_what_they_are():
    got = np.array([[1.0, 257.0]]).astype(ml_dtypes.bfloat16).astype(np.float64)
    assert value("max_abs", [[1.0, 257.0]], got, "bfloat16") == 1.0
