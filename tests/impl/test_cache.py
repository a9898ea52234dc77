"""The dense cache alone: what lies where, whose slots are real, inserted rows, its end, one program for all steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT

from jax_llama4 import (
    MODE_DECODE,
    MODE_INSERT,
    MODE_PREFILL,
    MODE_TRAIN,
    InsertMetadata,
    Llama4ForCausalLM,
    Llama4TextConfig,
    Numerics,
    TransformerCache,
    TransformerMetadata,
)
from jax_llama4.cache import held_slots

from limits import limit

FLOAT64 = Numerics.like_hf("float64")
CHUNK = 8
IDS = jnp.asarray(PROMPT.input_ids)
# Chunked layers and one full one; weights of unit gain, so that every key counts.
CONFIG = Llama4TextConfig.from_dict(CONFIGS["maverick"])


@pytest.fixture(scope="module")
def model(hf_runs) -> Llama4ForCausalLM:
    return Llama4ForCausalLM.from_state_dict(CONFIG, hf_runs["maverick"].weights, numerics=FLOAT64)


@nnx.jit
def call(model, ids, cache, mask=None, metadata=None):
    out = model(ids, mask, past_key_values=cache, cache_metadata=metadata)
    return out.logits, out.past_key_values


@nnx.jit
def uncached(model, ids, mask=None):
    return model(ids, mask).logits


def rel_l2(got, expected) -> float:
    return float(np.linalg.norm(np.asarray(got) - np.asarray(expected)) / np.linalg.norm(expected))


ALLOWED = limit("model", "f64", CONFIG.num_hidden_layers)


def test_layers_keep_no_more_than_they_can_be_asked_for(model):
    sizes = [view.size for view in model.init_cache(2, 30).views]
    assert sizes == [CHUNK, CHUNK, CHUNK, 30]
    assert {view.size for view in model.init_cache(2, 5).views} == {5}


def test_the_ring_holds_the_last_slot_of_each_remainder():
    found = held_slots(jnp.array([0, 3, 4, 6, -2]), 4)
    assert np.asarray(found)[1:4].tolist() == [[0, 1, 2, -1], [0, 1, 2, 3], [4, 5, 2, 3]]
    assert (np.asarray(found)[[0, 4]] < 0).all()


def metadata(starts=None, rows: int = 1, max_length: int = 10) -> TransformerMetadata:
    return TransformerCache.init_cache(CONFIG, rows, max_length, starts, dtype=FLOAT64.compute).metadata


def as_bits(mask) -> list[str]:
    return ["".join(str(int(bit)) for bit in row) for row in np.asarray(mask)]


def test_slots_count_padding_and_only_leading_zeros_move_the_start():
    state = metadata(rows=3).append(4, jnp.array([[0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]]))
    assert (state.lengths.tolist(), state.starts.tolist()) == ([4, 4, 4], [2, 0, 0])
    state = state.append(1)
    assert as_bits(state.real) == ["0011100000", "1011100000", "1100100000"]
    assert np.asarray(state.query_slots(1)).tolist() == [[4]] * 3


def test_padding_may_go_on_over_several_calls():
    state = metadata().append(3, jnp.zeros((1, 3), bool)).append(3, jnp.array([[0, 1, 1]]))
    assert (state.starts.tolist(), as_bits(state.real)) == ([4], ["0000110000"])


def test_starts_say_what_is_padding_where_no_mask_does_and_where_one_does():
    for mask in (None, jnp.ones((2, 6), int)):
        state = metadata(starts=jnp.array([0, 5]), rows=2).append(3).append(6, mask)
        assert as_bits(state.real) == ["1111111110", "0000011110"]
        assert state.starts.tolist() == [0, 5]
    assert metadata(starts=2, rows=2).starts.tolist() == [2, 2]


def test_tokens_before_slot_0_go_by():
    state = metadata()
    state = state.replace(lengths=state.lengths - 2).append(5, jnp.array([[0, 0, 1, 0, 1]]))
    assert (state.lengths.tolist(), state.starts.tolist(), as_bits(state.real)) == ([3], [0], ["1010000000"])


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError) as caught:
        metadata().append(3, jnp.ones((1, 7), int))
    assert str(caught.value) == (
        "attention_mask: expected the shape of the new tokens, (1, 3), or of all slots of the cache, (1, 10), "
        "got (1, 7)"
    )


def test_positions_default_to_slots(model):
    cache = model.init_cache(1, 20)
    _, cache = call(model, IDS[:1, :9], cache)
    found, _ = call(model, IDS[:1, 9:10], cache)
    assert rel_l2(found, uncached(model, IDS[:1, :10])[:, 9:]) <= ALLOWED


def test_an_inserted_row_and_its_neighbours_go_on_as_if_alone(model):
    cache = model.init_cache(3, 30)
    _, cache = call(model, IDS[:3, :13], cache)
    rows = jnp.array([2, 0])
    inserted, cache = call(model, IDS[3:5, :10], cache, metadata=InsertMetadata(rows))
    assert cache.metadata.lengths.tolist() == [10, 13, 10]
    assert rel_l2(inserted, uncached(model, IDS[3:5, :10])) <= ALLOWED
    of_rows, at = [4, 1, 3], np.array([10, 13, 10])
    for step in range(8):  # over the end of a chunk in each row, at another step
        tokens = IDS[jnp.array(of_rows), jnp.asarray(at + step)][:, None]
        found, cache = call(model, tokens, cache)
        for row, source in enumerate(of_rows):
            expected = uncached(model, IDS[source : source + 1])[0, at[row] + step]
            assert rel_l2(found[row, 0], expected) <= ALLOWED, (step, row)


@pytest.mark.parametrize("source_length", [6, 20, 40])
def test_a_cache_of_another_length_may_be_inserted(model, source_length):
    running, source = model.init_cache(2, 30), model.init_cache(1, source_length)
    _, running = call(model, IDS[:2, :13], running)
    _, source = call(model, IDS[4:, :5], source)
    joined = jax.jit(TransformerCache.insert)(running, 1, source)
    found, _ = call(model, jnp.stack([IDS[0, 13:14], IDS[4, 5:6]]), joined)
    assert rel_l2(found[1, 0], uncached(model, IDS[4:])[0, 5]) <= ALLOWED
    assert rel_l2(found[0, 0], uncached(model, IDS[:1])[0, 13]) <= ALLOWED


def test_beyond_the_end_a_row_is_nan_and_the_others_are_not(model):
    cache = model.init_cache(2, 12)
    _, cache = call(model, IDS[:2, :11], cache)
    _, cache = call(model, IDS[2:3, :5], cache, metadata=InsertMetadata(jnp.array([1])))
    _, cache = call(model, IDS[:2, 11:12], cache)
    found, _ = call(model, IDS[:2, 12:13], cache)
    assert np.isnan(np.asarray(found[0])).all() and np.isfinite(np.asarray(found[1])).all()


def test_one_program_serves_every_step(model):
    traced = []

    @nnx.jit
    def step(model, ids, cache):
        traced.append(ids)
        return model(ids, past_key_values=cache).past_key_values

    cache = model.init_cache(2, 30)
    for _ in range(3):
        cache = step(model, IDS[:2, :1], cache)
    assert len(traced) == 1 and cache.metadata.lengths.tolist() == [3, 3]


def test_a_donated_cache_is_reused(model):
    graphdef, state = nnx.split(model)

    def run(state, ids, cache):
        return nnx.merge(graphdef, state)(ids, past_key_values=cache).past_key_values

    cache = model.init_cache(2, 30)
    old = cache.views[3].key
    jax.jit(run, donate_argnums=2)(state, IDS[:2, :1], cache)
    assert old.is_deleted()


def test_keys_and_values_can_be_placed(model):
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for shardings in (where, {"key": where, "value": where}):
        assert model.init_cache(1, 4, shardings=shardings).views[0].key.sharding == where


WRONG = [
    ({"mode": MODE_DECODE}, "mode __autoregressive__: expected a cache, got none"),
    ({"mode": "decode"}, "mode: expected one of __train__, __prefill__, __autoregressive__, __insert__, got 'decode'"),
    ({"mode": MODE_TRAIN, "rows": 2}, "mode __train__: expected no cache, got dense"),
    ({"mode": MODE_DECODE, "rows": 2}, "mode __autoregressive__: expected one new token a row, got 3"),
    ({"mode": MODE_INSERT, "rows": 2}, "mode __insert__: InsertMetadata belongs to mode __insert__, got NoneType"),
    ({"rows": 4}, "past_key_values: expected one of 2 rows, got 4"),
    ({"rows": 2, "max_length": 2}, "cache: 3 new tokens do not fit into max_length 2"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_refused(model, arguments, message):
    rows, max_length = arguments.get("rows"), arguments.get("max_length", 10)
    cache = None if rows is None else model.init_cache(rows, max_length)
    with pytest.raises(ValueError) as caught:
        nnx.eval_shape(lambda: model(IDS[:2, :3], mode=arguments.get("mode"), past_key_values=cache))
    assert str(caught.value) == message


def test_a_mode_that_fits_changes_nothing(model):
    ids = IDS[:2, :9]
    cache = model.init_cache(2, 30)
    out = model(ids, past_key_values=cache, mode=MODE_PREFILL)
    np.testing.assert_array_equal(out.logits, model(ids, past_key_values=cache).logits)


def test_insert_refuses_another_number_of_rows_and_sizes_must_be_positive(model):
    with pytest.raises(ValueError, match=r"expected one row for each of 2 sequences, got \(1,\)"):
        model.init_cache(3, 5).insert(0, model.init_cache(2, 5))
    with pytest.raises(ValueError, match="expected a positive size, got batch 0, length 5"):
        model.init_cache(0, 5)
