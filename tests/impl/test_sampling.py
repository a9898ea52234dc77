"""Each logits processor against HF's, their order, the draw, and the text of every refusal."""

import functools

import generation_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_llama4.sampling import Sampling, draw, keep_top_k, keep_top_p, mark_seen, process

from limits import limit

DTYPES = {"f32": "float32", "f64": "float64"}
SEEN = mark_seen(
    jnp.zeros(cases.LOGITS.shape, bool), jnp.asarray(cases.SEEN_IDS), jnp.cumsum(cases.SEEN_MASK, axis=1) > 0
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", cases.PROCESSORS)
def test_equals_hf(name, dtype, hf_generation):
    sampling = Sampling(**cases.PROCESSORS[name])
    found = np.array(process(jnp.asarray(cases.LOGITS, DTYPES[dtype]), sampling, SEEN))
    expected = hf_generation[f"processed/{dtype}/{name}"].copy()
    if "top_p" in cases.PROCESSORS[name]:  # HF: torch's sort is not stable, so which of two equals goes is open
        found[cases.TIED] = np.sort(found[cases.TIED])
        expected[cases.TIED] = np.sort(expected[cases.TIED])
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=limit("elementwise", dtype))


def test_each_processor_changes_something(hf_generation):
    unchanged = [
        name
        for name in cases.PROCESSORS
        if np.array_equal(hf_generation[f"processed/f32/{name}"], cases.LOGITS, equal_nan=True)
    ]
    assert unchanged == ["top-k above the vocabulary", "min-p 0"]


def test_a_traced_parameter_compiles_once_and_gives_the_same():
    traced = jax.jit(process)
    scores = jnp.asarray(cases.LOGITS)
    for sampling in (
        Sampling(temperature=0.7, top_k=7, top_p=0.8, min_p=0.1),
        Sampling(temperature=1.9, top_k=30, top_p=0.95, min_p=0.02),
    ):
        np.testing.assert_array_equal(np.isfinite(traced(scores, sampling)), np.isfinite(process(scores, sampling)))
    assert traced._cache_size() == 1


def test_a_parameter_may_differ_from_row_to_row():
    scores = jnp.asarray(cases.LOGITS)
    per_row = {
        "temperature": np.array([0.5, 1.0, 2.0, 3.0, 0.1, 1.5]),
        "top_k": np.array([1, 61, 7, 3, 2, 30]),
        "top_p": np.array([0.1, 1.0, 0.5, 0.9, 0.3, 0.7]),
        "min_p": np.array([0.0, 1.0, 0.5, 0.1, 0.3, 0.9]),
        "repetition_penalty": np.array([0.5, 1.0, 2.0, 1.1, 1.2, 1.3]),
    }
    for name, values in per_row.items():
        found = process(scores, Sampling(**{name: values}), SEEN)
        one_by_one = [process(scores, Sampling(**{name: value}), SEEN)[row] for row, value in enumerate(values)]
        np.testing.assert_array_equal(found, one_by_one, err_msg=name)


def test_nothing_set_changes_nothing():
    np.testing.assert_array_equal(process(jnp.asarray(cases.LOGITS), Sampling()), cases.LOGITS)


def test_kept_sets_that_can_be_checked_by_eye():
    scores = jnp.log(jnp.array([[0.5, 0.25, 0.125, 0.125]]))
    assert np.isfinite(keep_top_k(scores, 1)).tolist() == [[True, False, False, False]]
    assert np.isfinite(keep_top_k(scores, 3)).tolist() == [[True, True, True, True]]  # the third ties with the fourth
    assert np.isfinite(keep_top_p(scores, 0.6)).tolist() == [[True, True, False, False]]
    assert np.isfinite(keep_top_p(scores, 0.8)).tolist() == [[True, True, False, True]]  # of equals the later id


def test_left_padding_is_not_seen_and_ids_outside_the_vocabulary_are_left_out():
    seen = mark_seen(jnp.zeros((2, 4), bool), jnp.array([[0, 2], [9, 1]]), jnp.array([[False, True], [True, True]]))
    assert seen.tolist() == [[False, False, True, False], [False, True, False, False]]


def test_draws_follow_the_distribution():
    probabilities = np.array([0.5, 0.25, 0.15, 0.1, 0.0])
    draws = 20_000
    scores = jnp.tile(jnp.log(jnp.asarray(probabilities)), (draws, 1))
    counts = np.bincount(draw(jax.random.key(0), scores), minlength=5)
    # Standard deviations of a binomial count. The key is fixed; a temperature of 1.1 would be off by 17 of them.
    deviations = (
        np.abs(counts[:4] - draws * probabilities[:4]) / np.sqrt(draws * probabilities * (1 - probabilities))[:4]
    )
    assert counts[4] == 0
    assert deviations.max() < 4


def test_one_key_draws_the_same_and_another_differs():
    scores = jnp.asarray(cases.LOGITS)[jnp.array([5] * 6)]
    first, again, other = (draw(jax.random.key(seed), scores) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_penalty_needs_what_was_seen():
    with pytest.raises(ValueError, match=r"^repetition_penalty: needs `seen`, the tokens that are already there$"):
        process(jnp.asarray(cases.LOGITS), Sampling(repetition_penalty=2.0))


ROWS = ", for all rows or one a row, got "
WRONG = [
    ("temperature", 0.0, f"temperature: expected a number above 0{ROWS}0.0"),
    ("temperature", -1, f"temperature: expected a number above 0{ROWS}-1"),
    ("temperature", float("nan"), f"temperature: expected a number above 0{ROWS}nan"),
    ("temperature", True, f"temperature: expected a number above 0{ROWS}True"),
    ("temperature", "1", f"temperature: expected a number above 0{ROWS}'1'"),
    ("top_k", 0, f"top_k: expected an integer of at least 1{ROWS}0"),
    ("top_k", 5.0, f"top_k: expected an integer of at least 1{ROWS}5.0"),
    ("top_p", 0.0, f"top_p: expected a number in (0, 1]{ROWS}0.0"),
    ("top_p", 1.5, f"top_p: expected a number in (0, 1]{ROWS}1.5"),
    ("min_p", -0.1, f"min_p: expected a number in [0, 1]{ROWS}-0.1"),
    ("min_p", [0.1, 2.0], f"min_p: expected a number in [0, 1]{ROWS}[0.1, 2.0]"),
    ("min_p", [[0.1]], f"min_p: expected a number in [0, 1]{ROWS}[[0.1]]"),
    ("repetition_penalty", 0, f"repetition_penalty: expected a number above 0{ROWS}0"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_refused(name, value, message):
    with pytest.raises(ValueError) as caught:
        Sampling(**{name: value})
    assert str(caught.value) == message


def test_a_sampling_is_a_pytree_whose_unset_fields_have_no_leaf():
    sampling = Sampling(temperature=0.5, top_k=3)
    assert jax.tree.leaves(sampling) == [0.5, 3]
    assert jax.tree.map(functools.partial(max, 1), sampling) == Sampling(temperature=1, top_k=3)
    assert sampling.draws() == ("temperature", "top_k")
    assert Sampling(repetition_penalty=1.2).draws() == ()
