"""A factor that elements are off by, named after the model's config."""

import math

import pytest

from paritygate.core.ratios import Ratios
from paritygate.judge.factors import factor_words, sizes_in

CONFIG = {"hidden_size": 40, "use_cache": True, "text": {"head_dim": 12, "layers": 2, "hidden_size": 7}, "eps": 1e-5}
SIZES = sizes_in(CONFIG)


def one(factor: float, share: float = 1.0) -> Ratios:
    """All that differs has one factor."""
    counts, none = (100,), (0,)
    first = round(4 * math.log2(abs(factor)))
    return Ratios(first, none if factor < 0 else counts, counts if factor < 0 else none, 0, factor, share)


def test_sizes_are_whole_numbers_by_their_keys():
    assert SIZES == {"hidden_size": 40, "head_dim": 12}


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (math.sqrt(12), "3.464 times the golden, √12: head_dim is 12"),
        (1 / math.sqrt(12), "0.2887 times the golden, 1/√12: head_dim is 12"),
        (12.01, "12.01 times the golden, 12: head_dim is 12"),
        (1 / 40, "0.025 times the golden, 1/40: hidden_size is 40"),
        (-math.sqrt(40), "-6.325 times the golden, −√40: hidden_size is 40"),
        (2.0, "2 times the golden"),
        (-1.0, "-1 times the golden"),
        (3.6, "3.6 times the golden"),
    ],
)
def test_a_factor_is_named_where_it_is_one_of_them(factor: float, words: str):
    assert factor_words(one(factor), SIZES) == f"100% of the elements are {words}"


def test_two_sizes_that_are_alike_are_both_named():
    assert factor_words(one(12.0), {"head_dim": 12, "other": 12}).endswith(", 12: head_dim and other are 12")


def test_where_no_factor_stands_out_nothing_is_said():
    assert factor_words(None, SIZES) == ""
    assert factor_words(one(2.0, share=0.05), SIZES) == ""  # of too few
    spread = Ratios(4, (60, 100, 60), (0, 0, 0), 0, 2 ** (5 / 4), 100 / 220)
    assert factor_words(spread, SIZES) == ""
    within = Ratios(0, (100,), (0,), 0, 1.03, 1.0)  # the bin of 1: a difference, and no factor
    assert factor_words(within, SIZES) == ""
