"""The map of a difference: which blocks a planted one lights, and what padding and NaN do to it."""

import doctest
import json
import warnings
from math import prod

import ml_dtypes
import numpy as np
import pytest

from paritygate.core import error_map as noun
from paritygate.core.codec import canonical, from_json
from paritygate.core.error_map import EQUAL, NONFINITE, NOTHING, ONE, ErrorMap
from paritygate.core.errors import UsageError
from paritygate.core.site import Kind
from paritygate.metrics.error_map import error_map

BATCH, TOKENS, HEADS, WIDTH = 2, 38, 6, 12
NOISE = 2.0**-40


def sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def drawn(golden, got, layout, kind=Kind.FLOAT, real=None, tokens=None) -> ErrorMap:
    real = np.ones((BATCH, TOKENS), bool) if real is None else real
    found = error_map(golden, got, kind=kind, layout=layout, real=real, tokens=tokens)
    assert found is not None
    return found


def lit(found: ErrorMap) -> set[tuple[tuple[str, int, int], ...]]:
    """The blocks that are as wrong as the golden is large, each as its axes with first and last index."""
    blocks = (i for i, level in enumerate(found.levels) if ONE - 4 < level < NONFINITE)
    return {tuple((axis.letter, *ends) for axis, ends in found.place(block)) for block in blocks}


def noisy(golden: np.ndarray) -> np.ndarray:
    return golden * (1 + NOISE * sample(*golden.shape, seed=1))


def test_the_examples_hold():
    assert doctest.testmod(noun).failed == 0


def test_a_wrong_head_lights_its_blocks_and_no_other():
    golden = sample(BATCH, TOKENS, HEADS, WIDTH)
    got = noisy(golden)
    got[:, :, 4] += 1.0
    found = drawn(golden, got, "B T N H")
    assert [(axis.letter, axis.size) for axis in (*found.down, *found.across)] == [
        ("B", BATCH), ("T", TOKENS), ("N", HEADS), ("H", WIDTH),
    ]  # fmt: skip
    heads = [place[2] for place in lit(found)]
    assert set(heads) == {("N", 4, 4)}
    assert len(heads) == prod(found.shape) / HEADS
    quiet = {level for block, level in enumerate(found.levels) if found.place(block)[2][1] != (4, 4)}
    assert max(quiet) < ONE - 2 * 35  # the noise is far below


def test_what_is_off_from_a_chunk_on_lights_from_its_edge_on():
    golden = sample(BATCH, TOKENS, 48)
    got = noisy(golden)
    got[:, 8:] += 1.0
    found = drawn(golden, got, "B T D")
    tokens = {place[1][1:] for place in lit(found)}
    assert min(first for first, _ in tokens) == 8  # a block never lies over an edge at a power of two
    assert max(last for _, last in tokens) == TOKENS - 1
    assert len(lit(found)) == sum(found.place(block)[1][1][0] >= 8 for block in range(prod(found.shape)))


def test_blocks_are_few_and_each_is_the_rms_of_its_elements():
    golden = sample(BATCH, TOKENS, HEADS, WIDTH)
    got = golden + 0.125 * sample(*golden.shape, seed=3)
    found = drawn(golden, got, "B T N H")
    assert prod(found.shape) == len(found.levels) <= noun.MOST_BLOCKS
    assert max(found.shape) <= noun.LONGEST
    whole = np.sqrt(np.mean(golden**2))
    for block, level in enumerate(found.levels):
        index = tuple(slice(first, last + 1) for _, (first, last) in found.place(block))
        exact = np.sqrt(np.mean((got[index] - golden[index]) ** 2)) / whole
        assert level == round(ONE + 2 * np.log2(exact))
        assert 0.8 < noun.ratio(level) / exact < 1.25  # half a level either way


def test_tokens_are_counted_from_the_first_real_one_and_padding_changes_nothing():
    real = np.ones((BATCH, TOKENS), bool)
    real[1, :5] = False
    golden = sample(BATCH, TOKENS, 16)
    got = noisy(golden)
    got[0, 8:] += 1.0
    got[1, 13:] += 1.0
    clean = drawn(golden, got, "B T D", real=real)
    got[1, :5] = np.nan
    found = drawn(golden, got, "B T D", real=real)
    assert found == clean
    assert {place[1][1] for place in lit(found)} >= {8}
    assert min(place[1][1] for place in lit(found)) == 8
    assert found.down[1].size == TOKENS  # of the longer row; the shorter one has nothing at its end
    empty = {found.place(block)[:2] for block, level in enumerate(found.levels) if level == NOTHING}
    assert {(row[1][0], tokens[1][0] >= TOKENS - 5 - 1) for row, tokens in empty} == {(1, True)}
    flat = drawn(golden.reshape(-1, 16), got.reshape(-1, 16), "(B T) D", real=real)
    assert flat == found
    later = np.arange(20, 20 + TOKENS) - np.array([[0], [5]])
    moved = drawn(golden, got, "B T D", real=real, tokens=later)
    assert (moved.down[1].first, moved.levels) == (20, found.levels)


@pytest.mark.parametrize(
    ("layout", "shape", "down", "across"),
    [
        ("B T D", (2, 38, 48), "BT", "D"),
        ("B T N H", (2, 38, 6, 12), "BT", "NH"),
        ("B N T S", (2, 6, 38, 38), "BT", "NS"),
        ("B S K H", (2, 38, 2, 12), "BS", "KH"),
        ("(E B T) D", (4 * 76, 24), "BT", "ED"),
        ("(B T) E", (76, 4), "BT", "E"),
        ("B T", (2, 38), "B", "T"),
        ("B D", (2, 24), "B", "D"),
        ("I P D", (3, 17, 36), "IP", "D"),
        ("X Y Z", (8, 24, 16), "XY", "Z"),
        ("X Y", (264, 24), "X", "Y"),
        ("X", (24,), "", "X"),
        ("B T V", (2, 38, 202048), "BT", "V"),
    ],
)
def test_the_sides_are_those_that_tell(layout, shape, down, across):
    golden = sample(*shape)
    found = drawn(golden, golden + 1.0, layout)
    assert "".join(axis.letter for axis in found.down) == down
    assert "".join(axis.letter for axis in found.across) == across
    assert prod(found.shape) == len(found.levels) <= noun.MOST_BLOCKS
    assert {axis.step & (axis.step - 1) for axis in (*found.down, *found.across)} == {0}  # powers of two
    assert NOTHING not in found.levels
    assert from_json(ErrorMap, json.loads(canonical(found))) == found


@pytest.mark.parametrize(
    ("size", "step", "packed", "said"),
    [
        (4, 1, "no base64", "an error map cannot be read"),
        (4, 1, ErrorMap.of((), (), b"abc").packed, "a level for each of 4 blocks"),
        (2**40, 1, ErrorMap.of((), (), bytes(10**7)).packed, "1,024, of which 1,024 are read"),
        (4, 0, ErrorMap.of((), (), b"abcd").packed, "a level for each of 0 blocks"),
        (10**400, -1, ErrorMap.of((), (), b"abcd").packed, "a level for each of 0 blocks"),
    ],
)
def test_a_map_that_somebody_wrote_costs_no_more_than_one_of_ours(size, step, packed, said):
    with pytest.raises(UsageError, match="error map") as refused:
        ErrorMap((), (noun.MapAxis("T", size, step),), packed).levels  # noqa: B018
    assert said in str(refused.value)


def test_where_nothing_differs_there_is_none():
    golden, real = sample(BATCH, TOKENS, 8), np.ones((BATCH, TOKENS), bool)
    assert error_map(golden, golden, kind=Kind.FLOAT, layout="B T D", real=real) is None
    assert error_map(np.ones(()), np.zeros(()), kind=Kind.FLOAT, layout="", real=real) is None
    got = golden.copy()
    got[0, 3] = 7.0
    real[0, 3] = False
    assert error_map(golden, got, kind=Kind.FLOAT, layout="B T D", real=real) is None
    assert error_map(golden, got, kind=Kind.FLOAT, layout="B T D", real=np.zeros_like(real)) is None


def test_one_element_that_differs_leaves_the_other_blocks_equal():
    golden = sample(BATCH, TOKENS, 8)
    got = golden.copy()
    got[1, 11, 3] += 1.0
    found = drawn(golden, got, "B T D")
    (block,) = (i for i, level in enumerate(found.levels) if level != EQUAL)
    assert [ends[0] <= i <= ends[1] for (_, ends), i in zip(found.place(block), (1, 11, 3), strict=True)] == [True] * 3


def test_what_is_not_finite_is_marked_and_the_rest_is_measured():
    golden = sample(BATCH, TOKENS, HEADS, WIDTH)
    got = noisy(golden)
    got[0, 9, 2, 1], got[1, 20, 5, 0] = np.nan, np.inf
    with warnings.catch_warnings(action="error"):
        found = drawn(golden, got, "B T N H")
    marked = [found.place(block) for block, level in enumerate(found.levels) if level == NONFINITE]
    assert [(place[0][1][0], place[2][1][0]) for place in marked] == [(0, 2), (1, 5)]
    assert not lit(found)


@pytest.mark.parametrize("got", [1e-300, 1.0, 1e300])
def test_of_a_golden_of_zeros_any_difference_is_large(got):
    with warnings.catch_warnings(action="error"):
        found = drawn(np.zeros((BATCH, TOKENS, 4)), np.full((BATCH, TOKENS, 4), got), "B T D")
    assert set(found.levels) == {NONFINITE - 1}


def test_of_a_choice_a_block_has_how_many_are_otherwise():
    golden = np.tril(np.ones((TOKENS, TOKENS), bool))[None].repeat(BATCH, 0)
    got = golden & (np.arange(TOKENS)[:, None] // 8 == np.arange(TOKENS)[None] // 8)
    found = drawn(golden, got, "B T S", kind=Kind.MASK)
    assert min(place[1][1] for place in lit(found)) == 8
    assert noun.ratio(max(found.levels)) == 1.0


def test_low_precision_is_drawn_in_its_own_values():
    golden = sample(BATCH, TOKENS, 16)
    got = golden.astype(ml_dtypes.bfloat16)
    assert drawn(golden, got, "B T D") == drawn(golden, got.astype(np.float64), "B T D")
