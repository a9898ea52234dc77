"""What is counted, refused and left out before a metric is computed."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritygate.core.site import Kind
from paritygate.metrics.measure import Measured, dtype_class, measure

REAL = np.array([[False, True, True], [True, True, False]])


def floats(golden, got, layout="B T D", real=REAL, role="") -> Measured:
    return measure(golden, got, kind=Kind.FLOAT, role=role, layout=layout, real=real)


def sample(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_floats_get_the_float_metrics_and_logits_two_more():
    golden = sample((2, 3, 4))
    plain = {"cosine", "max_abs", "max_ulp", "rel_l2", "sqnr"}
    assert set(floats(golden, golden).metrics) == plain
    assert set(floats(golden, golden, role="logits").metrics) == plain | {"kl", "top1"}


@pytest.mark.parametrize("kind", [Kind.INDEX, Kind.MASK])
def test_choices_and_masks_get_agreement(kind):
    golden = np.array([[[5], [1], [2]], [[3], [0], [5]]])
    got = np.array([[[0], [1], [2]], [[3], [1], [9]]], np.int32)  # two differences in padding, one in a real token
    measured = measure(golden, got, kind=kind, role="", layout="B T k", real=REAL)
    assert measured.metrics == {"agreement": 0.75}
    assert [(e.index, e.golden, e.got) for e in measured.worst] == [((1, 1, 0), 0.0, 1.0)]


def test_boolean_masks_compare_with_integer_masks():
    golden = np.array([[True, False, True]])
    measured = measure(golden, golden.astype(np.int32), kind=Kind.MASK, role="", layout="B T", real=None)
    assert measured.metrics == {"agreement": 1.0}


@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e30])
def test_padding_counts_for_nothing_on_either_side(padding):
    golden, got = sample((2, 3, 4)), sample((2, 3, 4), seed=1)
    clean = floats(golden, got)
    for side in (golden, got):
        side[~REAL] = padding
    assert floats(golden, got) == clean
    assert clean.scale == np.abs(golden[REAL]).max()


@given(st.integers(0, 2**6 - 1), st.sampled_from(["B T D", "B D T", "(B T) D", "D (B T)", "B 1 T D", "T B D"]))
def test_every_layout_gives_the_same_numbers_and_true_places(bits, layout):
    real = np.array([bool(bits >> i & 1) for i in range(6)]).reshape(2, 3)
    golden, got = sample((2, 3, 4)), sample((2, 3, 4), seed=1)

    def lay_out(x):
        order = [axis for axis in layout.replace("(", "").replace(")", "").split() if axis != "1"]
        moved = x.transpose(["BTD".index(axis) for axis in order])
        return {
            "(B T) D": lambda a: a.reshape(6, 4),
            "D (B T)": lambda a: a.reshape(4, 6),
            "B 1 T D": lambda a: a[:, None],
        }.get(layout, lambda a: a)(moved)

    measured, plain = floats(lay_out(golden), lay_out(got), layout, real), floats(golden, got, real=real)
    assert measured.metrics == plain.metrics
    assert (measured.problem, measured.scale) == (plain.problem, plain.scale)
    for element in measured.worst:
        assert (element.golden, element.got) == (lay_out(golden)[element.index], lay_out(got)[element.index])


def test_without_padding_rows_are_tokens_still():
    logits = np.array([[[0.0, 9.0], [9.0, 0.0]]])  # one batch row, two tokens
    got = np.array([[[0.0, 9.0], [0.0, 9.0]]])
    for layout, shape in (("B T V", (1, 2, 2)), ("(B T) V", (2, 2))):
        measured = floats(logits.reshape(shape), got.reshape(shape), layout, real=None, role="logits")
        assert measured.metrics["top1"] == 0.5


def test_worst_are_the_five_largest_in_order():
    golden = np.zeros((2, 3, 4)) + 1.0
    got = golden.copy()
    places = [(0, 1, 0), (0, 2, 3), (1, 0, 1), (1, 0, 2), (1, 1, 0), (1, 1, 3)]
    for place, step in zip(places, (0.5, 0.25, 4.0, 2.0, 1.0, 0.125), strict=True):
        got[place] += step
    got[0, 0, 0] += 100.0  # padding
    worst = floats(golden, got).worst
    assert [e.index for e in worst] == [(1, 0, 1), (1, 0, 2), (1, 1, 0), (0, 1, 0), (0, 2, 3)]
    assert [(e.golden, e.got) for e in worst[:2]] == [(1.0, 5.0), (1.0, 3.0)]


def test_equal_differences_are_listed_by_place_however_many_there_are():
    golden = np.zeros((1, 60))
    worst = floats(golden, golden + 1.0, "B D", real=None).worst
    assert [e.index for e in worst] == [(0, i) for i in range(5)]


def test_exact_has_no_worst_elements():
    assert floats(sample((2, 3, 4)), sample((2, 3, 4))).worst == ()


def test_a_scalar_can_be_compared():
    measured = floats(np.array(2.0), np.array(2.5), "", real=REAL)
    assert measured.metrics["rel_l2"] == 0.25
    assert measured.worst[0].index == ()


def test_ulps_are_those_of_the_candidate():
    golden = np.full((2, 3, 1), 1.0)
    got = golden.astype(ml_dtypes.bfloat16)
    got[0, 1, 0] = 1.0 + 2.0**-7
    assert floats(golden, got).metrics["max_ulp"] == 1.0
    assert floats(golden, got.astype(np.float32)).metrics["max_ulp"] == 2.0**16


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_what_is_not_finite_is_counted_and_nothing_is_averaged(bad, dtype):
    golden = sample((2, 3, 4))
    got = golden.astype(dtype)
    got[0, 1, 2] = got[1, 1, 3] = got[0, 0, 0] = bad  # the last is padding
    measured = floats(golden, got)
    assert (measured.problem, measured.nonfinite, measured.metrics) == ("nonfinite", 2, {})
    assert measured.detail == f"2 of 16 values are not finite, the first is {float(bad)} at (0, 1, 2)"


def test_a_golden_that_is_not_finite_is_a_mismatch_even_where_the_value_agrees():
    golden = sample((2, 3, 4))
    golden[0, 1, 0] = np.inf
    measured = floats(golden, golden.copy())
    assert (measured.problem, measured.detail, measured.metrics) == ("mismatch", "golden is not finite", {})


def test_another_shape_is_a_mismatch_that_names_both():
    measured = floats(sample((2, 3, 4)), sample((2, 4, 3)))
    assert measured.problem == "mismatch"
    assert measured.detail == "shape (2, 4, 3), golden (2, 3, 4), layout 'B T D'"


@pytest.mark.parametrize(
    ("kind", "golden", "got", "detail"),
    [
        (Kind.FLOAT, np.float64, np.int32, "value is int32, port is of kind float"),
        (Kind.FLOAT, np.int64, np.float32, "golden is int64, port is of kind float"),
        (Kind.FLOAT, np.float64, np.bool_, "value is bool, port is of kind float"),
        (Kind.FLOAT, np.float64, np.complex64, "value is complex64, port is of kind float"),
        (Kind.INDEX, np.int64, np.float32, "value is float32, port is of kind index"),
        (Kind.INDEX, np.int64, np.bool_, "value is bool, port is of kind index"),
        (Kind.MASK, np.bool_, ml_dtypes.bfloat16, "value is bfloat16, port is of kind mask"),
    ],
)
def test_another_class_of_dtype_is_a_mismatch(kind, golden, got, detail):
    measured = measure(np.ones((1, 2), golden), np.ones((1, 2), got), kind=kind, role="", layout="B D", real=None)
    assert (measured.problem, measured.metrics) == ("mismatch", {})
    assert measured.detail.startswith(detail)


@pytest.mark.parametrize("real", [np.zeros((2, 3), bool), None])
def test_nothing_to_compare_is_a_mismatch(real):
    golden = np.ones((2, 3, 4 if real is not None else 0))
    measured = floats(golden, golden, real=real)
    assert measured.problem == "mismatch"
    assert measured.detail.startswith("nothing to compare")


def test_integers_that_float64_would_merge_are_refused():
    golden, got = np.array([[2**53]]), np.array([[2**53 + 1]])
    measured = measure(golden, got, kind=Kind.INDEX, role="", layout="B T", real=None)
    assert (measured.problem, measured.detail) == ("mismatch", "integers beyond 2**53 cannot be compared in float64")


def test_a_golden_that_does_not_fit_its_layout_is_not_put_down_to_the_candidate():
    with pytest.raises(ValueError, match=r"shape \(2, 3\) does not fit layout 'B T D'"):
        floats(np.ones((2, 3)), np.ones((2, 3)))


def test_classes_of_dtypes():
    names = ["bfloat16", "float8_e4m3fn", "float64", "int4", "uint8", "int64", "bool", "complex64"]
    classes = [dtype_class(np.dtype(name)) for name in names]
    assert classes == ["float", "float", "float", "integer", "integer", "integer", "bool", "complex64"]
