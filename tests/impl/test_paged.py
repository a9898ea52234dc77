"""The ragged paged cache: sequences of all lengths in one row of tokens equal each of them alone, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics, PagePool, RaggedPagesMetadata

from limits import limit

FLOAT64 = Numerics.like_hf("float64")
IDS = PROMPT.input_ids
LENGTHS = (20, 7, 27)
# New tokens of each sequence a call: prefills and steps mixed, a late comer, continuations over the end of a chunk.
STEPS = ((5, 0, 13), (1, 7, 1), (9, 0, 1), (1, 0, 9), (1, 0, 1), (3, 0, 2))
TOKENS = 20  # a call, padding included


def rel_l2(got, expected) -> float:
    return float(np.linalg.norm(np.asarray(got) - np.asarray(expected)) / np.linalg.norm(expected))


@nnx.jit
def call(model, ids, cache, metadata):
    out = model(ids, past_key_values=cache, cache_metadata=metadata)
    return out.logits, out.past_key_values


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, hf_runs) -> Llama4ForCausalLM:
    config = Llama4TextConfig.from_dict(CONFIGS[request.param])
    return Llama4ForCausalLM.from_state_dict(config, hf_runs[request.param].weights, numerics=FLOAT64)


def run(model, bound) -> list[np.ndarray]:
    """Logits of each sequence, its own tokens only."""
    pool, cache = PagePool(20, 4, rows=3, pages_per_row=7), model.init_ragged_pages(20, 4)
    done, logits = [0, 0, 0], [[], [], []]
    for step in STEPS:
        given = [IDS[row, start : start + count] for row, (start, count) in enumerate(zip(done, step, strict=True))]
        flat = np.concatenate([*given, np.zeros(TOKENS - sum(step), dtype=int)])[None]
        found, cache = call(model, jnp.asarray(flat), cache, pool.step(step, bound))
        ends = np.cumsum(step)
        for row, count in enumerate(step):
            logits[row].append(np.asarray(found)[0, ends[row] - count : ends[row]])
            done[row] += count
    return [np.concatenate(pieces) for pieces in logits]


@pytest.mark.parametrize("bound", [None, 13])
def test_mixed_batches_equal_each_sequence_alone(model, bound):
    allowed = limit("model", "f64", model.config.num_hidden_layers)
    alone = nnx.jit(lambda model, ids: model(ids).logits)
    for row, found in enumerate(run(model, bound)):
        expected = alone(model, jnp.asarray(IDS[row : row + 1]))[0, : LENGTHS[row]]
        assert rel_l2(found, expected) <= allowed, row


def test_more_new_tokens_than_were_promised_are_nan(model):
    pool, cache = PagePool(4, 4, rows=2, pages_per_row=2), model.init_ragged_pages(4, 4)
    found, _ = call(model, jnp.asarray(IDS[:1, :5]), cache, pool.step([3, 2], most_new_tokens=2))
    assert np.isnan(np.asarray(found)[0]).all(axis=-1).tolist() == [False, False, True, False, False]


def test_a_slot_without_a_page_is_nan(model):
    metadata = RaggedPagesMetadata.of([[0, -1], [1, 2]], [0, 0], [5, 5], page_size=4)
    found, _ = call(model, jnp.asarray(IDS[:1, :10]), model.init_ragged_pages(4, 4), metadata)
    assert np.isnan(np.asarray(found)[0]).all(axis=-1).tolist() == [False] * 4 + [True] + [False] * 5


def test_entries_follow_the_page_table():
    metadata = RaggedPagesMetadata.of([[2, 0, -1], [5, -1, -1]], [3, 0], [2, 3], page_size=4)
    assert metadata.sequences(7).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert metadata.query_slots(7)[0, :5].tolist() == [3, 4, 0, 1, 2]
    assert metadata.entries(7).tolist() == [11, 0, 20, 21, 22, -1, -1]


def test_pages_come_back_and_run_out():
    pool = PagePool(3, 4, rows=2, pages_per_row=3)
    pool.step([5, 4])
    with pytest.raises(ValueError, match="pages: 1 more are needed, 0 are free"):
        pool.step([0, 1])
    with pytest.raises(ValueError, match="pages: a row of 13 slots needs 4, its table has room for 3"):
        pool.step([8, 0])
    pool.release(0)
    metadata = pool.step([0, 8])
    assert sorted(metadata.page_tables[1].tolist()) == [0, 1, 2] and metadata.lengths.tolist() == [0, 12]


WRONG = [
    ({"cache_metadata": None}, "cache_metadata: a paged cache needs RaggedPagesMetadata, got NoneType"),
    ({"attention_mask": jnp.ones((1, 4), int)}, "a ragged batch is one row of tokens without a mask, got 1 rows"),
    ({"input_ids": jnp.ones((2, 4), int)}, "a ragged batch is one row of tokens without a mask, got 2 rows"),
    (
        {"mode": "__insert__"},
        "mode __insert__: a paged cache needs none, give the new sequence a row of the page table",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_refused(model, arguments, message):
    metadata = RaggedPagesMetadata.of([[0]], [0], [4], page_size=4)
    given = {"input_ids": jnp.asarray(IDS[:1, :4]), "cache_metadata": metadata} | arguments
    with pytest.raises(ValueError) as caught:
        model(past_key_values=model.init_ragged_pages(2, 4), **given)
    assert str(caught.value) == message


def test_sizes_must_be_positive(model):
    with pytest.raises(ValueError, match="expected a positive size, got 0 pages of 4 slots"):
        model.init_ragged_pages(0, 4)
