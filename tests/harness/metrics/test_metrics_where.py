"""Where a planted difference is said to sit: one pattern each, on a golden with noise everywhere."""

import numpy as np
import pytest

from paritygate.core.site import Kind
from paritygate.metrics.measure import measure

BATCH, TOKENS, HEADS, WIDTH = 2, 38, 6, 12
NOISE, FAULT = 2.0**-40, 2.0**-6


def sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def located(golden: np.ndarray, got: np.ndarray, layout: str, kind=Kind.FLOAT, real=None, tokens=None):
    real = np.ones((BATCH, TOKENS), bool) if real is None else real
    return measure(golden, got, kind=kind, role="", layout=layout, real=real, tokens=tokens).where


def words(golden: np.ndarray, faulty, layout: str, **given) -> list[str]:
    """What is said of noise everywhere and a fault at the elements that an index chooses."""
    got = golden * (1 + NOISE * sample(*golden.shape, seed=1))
    got[faulty] += FAULT * sample(*golden.shape, seed=2)[faulty]
    return [part.words for part in located(golden, got, layout, **given)]


HEADED = "B T N H"


@pytest.mark.parametrize(
    ("faulty", "expected"),
    [
        (np.s_[:], []),
        (np.s_[:, 8:], ["from token 8 on"]),
        (np.s_[:, :8], ["up to token 7"]),
        (np.s_[:, 8:24], ["at tokens 8 to 23"]),
        (np.s_[:, [7, 15, 23, 31]], ["at tokens 7, 15, 23 and 31"]),
        (np.s_[:, :, 4], ["at head 4"]),
        (np.s_[:, :, [1, 4]], ["at heads 1 and 4"]),
        (np.s_[:, :, 3:], ["in the second half of the heads"]),
        (np.s_[..., :6], ["in the first half of the head channels"]),
        (np.s_[..., ::2], ["at even head channels"]),
        (np.s_[..., 1::2], ["at odd head channels"]),
        (np.s_[1], ["at row 1"]),
        (np.s_[:, 8:, 4], ["at head 4", "from token 8 on"]),
    ],
    ids=str,
)
def test_each_pattern_has_its_words(faulty, expected):
    assert words(sample(BATCH, TOKENS, HEADS, WIDTH), faulty, HEADED) == expected


def test_a_jump_counts_and_a_slope_does_not():
    golden = sample(BATCH, TOKENS, HEADS, WIDTH)
    slope = np.linspace(0.1, 1.0, TOKENS)[None, :, None, None]
    assert located(golden, golden * (1 + FAULT * slope), HEADED) == ()
    # Small where it begins, large later: it begins where it begins.
    steps = np.where(np.arange(TOKENS) < 8, 0.0, np.where(np.arange(TOKENS) < 16, FAULT**2, FAULT))
    (part,) = located(golden, golden * (1 + steps[None, :, None, None]), HEADED)
    assert part.words == "from token 8 on"


def test_a_difference_that_follows_the_goldens_size_is_everywhere():
    """One channel that dwarfs all others holds nearly all of the difference, and says nothing."""
    golden = sample(BATCH, TOKENS, WIDTH)
    golden[..., 3] *= 1000.0
    assert located(golden, golden * (1 + FAULT), "B T D") == ()
    got = golden.copy()
    got[..., 5] += FAULT
    assert [part.words for part in located(golden, got, "B T D")] == ["at channel 5"]


def test_rounding_alone_sits_nowhere():
    golden = sample(BATCH, TOKENS, WIDTH)
    assert located(golden, golden.astype(np.float32), "B T D") == ()
    assert located(golden, golden, "B T D") == ()
    for seed in range(20):
        got = golden * (1 + FAULT * sample(*golden.shape, seed=seed))
        assert located(golden, got, "B T D") == ()


def test_tokens_are_counted_from_the_first_real_one_of_their_row():
    real = np.ones((BATCH, TOKENS), bool)
    real[1, :5] = False
    golden = sample(BATCH, TOKENS, WIDTH)
    got = golden.copy()
    got[0, 8:] += FAULT
    got[1, 13:] += FAULT
    got[1, :5] = np.nan  # padding
    (part,) = located(golden, got, "B T D", real=real)
    assert (part.words, part.places) == ("from token 8 on", (8,))
    flat = located(golden.reshape(-1, WIDTH), got.reshape(-1, WIDTH), "(B T) D", real=real)
    assert flat == (part,)
    later = np.arange(20, 20 + TOKENS) - np.array([[0], [5]])
    (part,) = located(golden, got, "B T D", real=real, tokens=later)
    assert part.words == "from token 28 on"


def test_keys_that_are_padding_are_named():
    real = np.ones((BATCH, TOKENS), bool)
    real[1, :5] = False
    golden = np.tril(np.ones((TOKENS, TOKENS), bool))[None] & real[:, None, :]
    got = np.broadcast_to(np.tril(np.ones((TOKENS, TOKENS), bool)), golden.shape)
    assert "at keys that are padding" in [
        part.words for part in located(golden, got, "B T S", kind=Kind.MASK, real=real)
    ]


def test_experts_are_told_from_the_rows_that_they_are_merged_with():
    golden = sample(4 * BATCH * TOKENS, WIDTH)
    got = golden.reshape(4, BATCH, TOKENS, WIDTH).copy()
    got[2] *= 1 + FAULT
    (part,) = located(golden, got.reshape(golden.shape), "(E B T) D")
    assert (part.words, part.size) == ("at expert 2", 4)


def test_axes_that_cannot_be_told_apart_are_one():
    golden = sample(BATCH, TOKENS, HEADS * WIDTH)
    got = golden.copy()
    got[..., 3] += FAULT
    assert [part.words for part in located(golden, got, "B T (N H)")] == ["at index of axis NH 3"]


def test_choices_that_differ_have_a_place_too():
    golden = np.zeros((BATCH * TOKENS, 1), np.int64)
    got = golden.copy()
    got[[9, 9 + TOKENS]] = 1
    (part,) = located(golden, got, "(B T) J", kind=Kind.INDEX)
    assert part.words == "at token 9"


def test_a_few_elements_have_their_places_and_no_pattern():
    golden = np.zeros((BATCH * TOKENS, 1), np.int64)
    single = golden.copy()
    single[9] = 1
    assert [part.words for part in located(golden, single, "(B T) J", kind=Kind.INDEX)] == ["at token 9", "at row 0"]
    # Ten flips, none at the first two tokens: that they begin at the third is chance.
    several = golden.copy()
    several[[2, 6, 11, 15, 19, TOKENS + 4, TOKENS + 8, TOKENS + 22, TOKENS + 30, TOKENS + 36]] = 1
    assert located(golden, several, "(B T) J", kind=Kind.INDEX) == ()


def test_what_is_not_finite_has_a_place():
    golden = sample(BATCH, TOKENS, WIDTH)
    got = golden.copy()
    got[:, :, 4] = np.nan
    assert [part.words for part in located(golden, got, "B T D")] == ["at channel 4"]


def test_gradients_have_the_axes_of_their_weight():
    golden = sample(40, 24)
    got = golden.copy()
    got[:, 12:] += FAULT
    measured = measure(golden, got, kind=Kind.FLOAT, role="", layout="X Y", real=None)
    assert [part.words for part in measured.where] == ["in the second half of the places on the second axis"]
