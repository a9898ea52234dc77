"""Counts of elements by how many roundoffs they differ, and what is read off them."""

import doctest

import numpy as np
import pytest

from paritygate.core import histogram as noun
from paritygate.core.histogram import LEAST, MOST, Histogram
from paritygate.metrics.base import unit_roundoff
from paritygate.metrics.histogram import histogram


def test_the_examples_hold():
    assert doctest.testmod(noun).failed == 0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rms", [2.0, 3.0])
def test_elements_are_counted_by_powers_of_two_of_a_roundoff(dtype, rms):
    golden = np.zeros((4, 8))
    golden[3] = 2.0 * rms  # the only ones of four that are not zero; what is added to zero is exact
    got = golden.copy()
    got[0] = rms * unit_roundoff(dtype) * np.array([0.0, 0.0, 0.25, 1.0, -1.5, 2.0, -7.75, 8.0])
    found = histogram(golden, got, dtype)
    assert found == Histogram(26, -2, (1, 0, 2, 1, 1, 1))
    assert found.elements == golden.size
    assert [found.beyond(exponent) * golden.size for exponent in (-9, 0, 3, 4, 60)] == [6, 5, 1, 0, 0]
    assert [found.within(part) for part in (0.5, 27 / 32, 28 / 32, 1.0)] == [-2, -1, 1, 4]


def test_where_nothing_differs_there_is_none():
    assert histogram(np.ones((2, 3)), np.ones((2, 3)), "float32") is None


def test_what_is_out_of_range_is_counted_in_the_outermost_bin():
    golden = np.array([[1.0, 1.0]])
    assert histogram(golden, np.array([[1e300, 1.0]]), "float64") == Histogram(1, MOST, (1,))
    assert histogram(np.zeros((1, 2)), np.array([[1e-300, 0.0]]), "bfloat16") == Histogram(1, MOST, (1,))
    assert histogram(golden, golden + np.array([[2.0**-52, 0.0]]), "bfloat16") == Histogram(1, LEAST, (1,))
