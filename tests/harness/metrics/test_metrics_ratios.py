"""The histogram of got / golden: a factor that is missing stands out."""

import math

import numpy as np
import pytest

from paritygate.core.ratios import MOST, PER_OCTAVE, Ratios
from paritygate.metrics.ratios import ratios

GOLDEN = np.random.default_rng(0).standard_normal((40, 24))


@pytest.mark.parametrize("factor", [math.sqrt(10.0), 1 / math.sqrt(10.0), 2.0, -1.0, -0.5, 1000.0])
def test_a_factor_is_one_bin_and_its_own_value(factor):
    found = ratios(GOLDEN, GOLDEN * factor)
    assert found is not None
    assert found.first == round(PER_OCTAVE * math.log2(abs(factor)))
    assert (found.same, found.opposite)[factor < 0] == (GOLDEN.size,)
    assert (found.same, found.opposite)[factor > 0] == (0,)
    assert found.share == 1.0
    assert found.typical == float(f"{factor:.6g}")


def test_what_is_right_is_in_the_bin_of_one():
    got = GOLDEN.copy()
    got[:, :6] *= 3.0
    found = ratios(GOLDEN, got)
    assert found is not None
    assert (found.first, found.same[0], found.same[6]) == (0, GOLDEN.size * 3 // 4, GOLDEN.size // 4)
    assert (found.typical, found.share, sum(found.same)) == (3.0, 0.25, GOLDEN.size)


def test_zeros_and_signs_are_counted_apart():
    golden = np.array([[1.0, 1.0, 0.0, 0.0, -2.0, 3.0]])
    got = np.array([[4.0, -4.0, 0.0, 5.0, -8.0, 0.0]])
    assert ratios(golden, got) == Ratios(8, (2,), (1,), 2, 4.0, 0.4)


def test_what_is_beyond_the_bins_is_in_the_outermost():
    found = ratios(np.ones((1, 2)), np.array([[1e-300, 1e300]]))
    assert found is not None
    assert (found.first, len(found.same), found.same[0], found.same[-1]) == (-MOST, 2 * MOST + 1, 1, 1)


def test_rounding_says_nothing():
    assert ratios(GOLDEN, GOLDEN * (1 + 2.0**-8)) is None
    assert ratios(GOLDEN, GOLDEN) is None
    assert ratios(np.zeros((2, 2)), np.ones((2, 2))) is None
    assert ratios(GOLDEN, GOLDEN * (1 + 2.0**-5)) is not None
