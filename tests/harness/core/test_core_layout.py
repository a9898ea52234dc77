"""Layouts: there and back is the identity, each element lands where its letters say, rows are those of real tokens."""

import itertools
import string

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paritygate.core.errors import UsageError
from paritygate.core.layout import convert, parse, real_rows

Groups = list[list[str]]


def written(groups: Groups) -> str:
    return " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in groups)


@st.composite
def arranged(draw: st.DrawFn, letters: list[str]) -> Groups:
    """The letters in any order, some merged, with axes of one put in anywhere, merged ones too."""
    axes = draw(st.permutations(letters + ["1"] * draw(st.integers(0, 2))))
    groups: Groups = []
    for axis in axes:
        if groups and len(groups[-1]) < 3 and draw(st.booleans()):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


@st.composite
def two_layouts(draw: st.DrawFn) -> tuple[Groups, Groups, dict[str, int]]:
    letters = list(string.ascii_uppercase[: draw(st.integers(0, 4))])
    sizes = {letter: draw(st.integers(1, 4)) for letter in letters}
    return draw(arranged(letters)), draw(arranged(letters)), sizes


def shape_of(groups: Groups, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(int(np.prod([sizes.get(axis, 1) for axis in group])) for group in groups)


def places(groups: Groups, sizes: dict[str, int], index: dict[str, int]) -> tuple[int, ...]:
    """Where the element with this index by letter lies in an array of this layout."""
    found = []
    for group in groups:
        place = 0
        for axis in group:
            place = place * sizes.get(axis, 1) + index.get(axis, 0)
        found.append(place)
    return tuple(found)


@given(two_layouts())
def test_each_element_lands_where_its_letters_say_and_comes_back(drawn: tuple[Groups, Groups, dict[str, int]]) -> None:
    source, target, sizes = drawn
    array = np.arange(int(np.prod(shape_of(source, sizes)))).reshape(shape_of(source, sizes))
    made = convert(array, written(source), written(target), sizes)
    assert made.shape == shape_of(target, sizes)
    for numbers in itertools.product(*(range(size) for size in sizes.values())):
        index = dict(zip(sizes, numbers, strict=True))
        assert made[places(target, sizes, index)] == array[places(source, sizes, index)]
    back = convert(made, written(target), written(source), sizes)
    assert np.array_equal(back, array) and back.shape == array.shape


@st.composite
def values_with_padding(draw: st.DrawFn) -> tuple[Groups, dict[str, int], np.ndarray, str]:
    time = draw(st.sampled_from(["T", "S", "both"]))
    letters = ["B", *(["T", "S"] if time == "both" else [time]), *draw(st.sampled_from([[], ["D"], ["N", "D"]]))]
    sizes = {letter: draw(st.integers(1, 3)) for letter in letters}
    tokens = sizes["S"] = sizes.get("T", sizes.get("S", 1))
    rows = [draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)) for _ in range(sizes["B"])]
    groups, time_axis = draw(arranged(letters)), "S" if time == "S" else "T"
    # Of what is merged with the tokens, the shape gives one length, not two.
    mixed = [group for group in groups if {"B", time_axis} & set(group)]
    assume(all(len(set(group) - {"B", time_axis, "1"}) <= 1 for group in mixed))
    return groups, sizes, np.array(rows, bool), time_axis


@given(values_with_padding())
def test_real_rows_are_those_of_a_plain_loop(drawn: tuple[Groups, dict[str, int], np.ndarray, str]) -> None:
    groups, sizes, real, time = drawn
    array = np.arange(int(np.prod(shape_of(groups, sizes)))).reshape(shape_of(groups, sizes))
    features = [axis for group in groups for axis in group if axis not in ("B", time, "1")]
    expected = []
    for b, t in itertools.product(range(real.shape[0]), range(real.shape[1])):
        if real[b, t]:
            row = []
            for numbers in itertools.product(*(range(sizes[axis]) for axis in features)):
                index = {"B": b, time: t, **dict(zip(features, numbers, strict=True))}
                row.append(array[places(groups, sizes, index)])
            expected.append(row)
    width = int(np.prod([sizes[axis] for axis in features]))
    found = real_rows(array, written(groups), real)
    assert found.shape == (int(real.sum()), width)
    assert found.tolist() == expected


REAL = np.array([[False, True, True], [True, True, False]])


def test_real_rows_of_a_batch_by_eye() -> None:
    array = np.arange(12).reshape(2, 3, 2)
    assert real_rows(array, "B T D", REAL).tolist() == [[2, 3], [4, 5], [6, 7], [8, 9]]
    assert real_rows(array.reshape(6, 2), "(B T) D", REAL).tolist() == [[2, 3], [4, 5], [6, 7], [8, 9]]
    assert real_rows(array[..., 0], "B T", REAL).tolist() == [[2], [4], [6], [8]]


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("B T D", (2, 3, 4)), ("(B T) D", (6, 4)), ("D B T", (4, 2, 3)), ("B N T S", (2, 2, 3, 3)), ("B S", (2, 3))],
)
def test_without_a_map_every_token_is_real(layout: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape)
    everything = real_rows(array, layout, np.ones((2, 3), bool))
    assert len(everything) == 6
    assert np.array_equal(real_rows(array, layout, None), everything)


def test_each_patch_of_each_tile_is_a_row_and_real() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    for real in (REAL, None):
        assert np.array_equal(real_rows(array, "I P D", real), array.reshape(6, 4))
        assert np.array_equal(real_rows(array, "P H R", real), array.reshape(2, 12))
        assert np.array_equal(real_rows(array, "I C h", real), array.reshape(2, 12))
        heads = real_rows(array.reshape(2, 3, 2, 2), "I N P S", real)
        assert heads.tolist() == array.reshape(2, 3, 2, 2).transpose(0, 2, 1, 3).reshape(4, 6).tolist()


def test_values_of_no_token_are_all_real() -> None:
    array = np.arange(6).reshape(3, 2)
    assert real_rows(array, "T D", REAL).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert real_rows(np.array(3.0), "", REAL).tolist() == [[3.0]]
    assert real_rows(np.zeros((0, 4)), "E D", None).shape == (1, 0)


def test_a_value_of_each_sequence_has_a_row_for_each_wherever_its_batch_axis_is() -> None:
    array = np.arange(6).reshape(2, 3)
    for real in (REAL, None):
        assert real_rows(array, "B D", real).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert real_rows(array.T, "D B", real).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert real_rows(array[None], "1 B D", real).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert real_rows(array.reshape(6), "(B D)", REAL).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_merged_features_need_no_lengths() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(real_rows(array, "B T (N H)", REAL), real_rows(array, "B T D", REAL))
    assert np.array_equal(real_rows(array, "B T (1 N H)", None), real_rows(array, "B T D", None))


def test_no_real_token_gives_no_row() -> None:
    assert real_rows(np.zeros((2, 3, 4)), "B T D", np.zeros((2, 3), bool)).shape == (0, 4)


def test_bfloat16_stays_bfloat16() -> None:
    array = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(1, 3, 2)
    assert convert(array, "B T D", "D (B T)", {}).dtype == ml_dtypes.bfloat16
    assert real_rows(array, "B T D", None).dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("shape", "source", "target", "text"),
    [
        ((2, 3), "B T D", "B T D", r"^shape \(2, 3\) does not fit layout 'B T D'$"),
        ((2, 3), "B T D", "T B D", r"^shape \(2, 3\) does not fit layout 'B T D'$"),
        ((2, 5, 3), "B 1 T", "B T", r"^shape \(2, 5, 3\) does not fit layout 'B 1 T'$"),
        ((2, 5, 3), "B 1 T", "B 1 T", r"^shape \(2, 5, 3\) does not fit layout 'B 1 T'$"),
        ((7, 3), "(B T) D", "B T D", r"^axis of 7 does not fit 'B T' of layout '\(B T\) D' with sizes {'B': 2}$"),
        ((6, 4), "T (N H)", "T N H", r"^axis of 4 does not fit 'N H' of layout 'T \(N H\)' with sizes {'B': 2}$"),
        ((2, 3), "B T", "B D", r"^layouts 'B T' and 'B D' have different axes$"),
        ((2, 3), "B T", "B", r"^layouts 'B T' and 'B' have different axes$"),
    ],
)
def test_a_shape_that_does_not_fit_names_both_sides(
    shape: tuple[int, ...], source: str, target: str, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        convert(np.zeros(shape), source, target, {"B": 2})


def test_merged_tokens_of_unknown_shape_need_the_map() -> None:
    with pytest.raises(ValueError, match="needs the map of real tokens"):
        real_rows(np.zeros((6, 2)), "(T B) D", None)


def test_parse() -> None:
    assert parse("E (B T) D") == (("E",), ("B", "T"), ("D",))
    assert parse("B 1 T S") == (("B",), ("1",), ("T",), ("S",))
    assert parse("(B 1 T)D") == (("B", "1", "T"), ("D",))
    assert parse("") == ()


@pytest.mark.parametrize("layout", ["(B T", "B) T", "()", "((B) T)", "B, T", "B-T", "B B", "(B T) B", "B * T"])
def test_bad_layouts(layout: str) -> None:
    with pytest.raises(UsageError, match=r"^bad layout: "):
        parse(layout)
