"""Generation against HF's own, and what a caller sees: stops, pads, streams, compilations, refusals."""

import dataclasses
import re

import generation_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compilations
from impl_cases import under

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics, generation
from jax_llama4.attention import attention_temperature
from jax_llama4.generation import _special_tokens as special_tokens

N = cases.NEW_TOKENS
T = cases.INPUT_IDS.shape[1]


def build(name: str, hf_generation, dtype: str = "float32", **changes) -> Llama4ForCausalLM:
    weights = under(f"{name}/weights/", hf_generation)
    config = Llama4TextConfig.from_dict(cases.CONFIGS[name] | changes)
    return Llama4ForCausalLM.from_state_dict(config, weights, numerics=Numerics.like_hf(dtype))


@pytest.fixture(scope="module")
def models(hf_generation) -> dict[str, Llama4ForCausalLM]:
    return {name: build(name, hf_generation) for name in cases.CONFIGS}


@pytest.fixture(scope="module")
def scout(models) -> Llama4ForCausalLM:
    return models["scout"]


def run(model, ids=cases.INPUT_IDS, mask=cases.ATTENTION_MASK, **arguments):
    """Greedy and without stop tokens, if nothing else is said."""
    arguments = {"max_new_tokens": N, "eos_token_id": (), "pad_token_id": cases.PAD} | arguments
    return model.generate(ids, mask, **arguments)


def new_tokens(out) -> list[list[int]]:
    return np.asarray(out.sequences)[:, T:].tolist()


@pytest.mark.parametrize(("name", "case"), [("scout", "plain"), ("maverick", "plain"), ("scout", "penalty")])
def test_greedy_tokens_equal_hfs(name, case, models, hf_generation):
    out = run(models[name], **cases.GREEDY[case])
    assert new_tokens(out) == hf_generation[f"{name}/{case}"].tolist()
    np.testing.assert_array_equal(out.sequences[:, :T], cases.INPUT_IDS)
    assert out.lengths.tolist() == [N] * 4


def test_what_lies_under_the_padding_is_neither_read_nor_penalised(scout, hf_generation):
    expected = hf_generation["scout/penalty"]
    ids = np.where(cases.ATTENTION_MASK == 1, cases.INPUT_IDS, expected[:, :1])  # ids that each row is about to make
    assert new_tokens(run(scout, ids, **cases.GREEDY["penalty"])) == expected.tolist()


@pytest.mark.parametrize("change", [{"attention_chunk_size": 7}, {"floor_scale": 5}])
def test_tokens_show_where_chunks_and_the_floor_lie_and_two_programs_make_them(change, scout, hf_generation):
    run(scout)  # the small programs around the two are compiled by now, also where this test is the first
    model = build("scout", hf_generation, **change)
    with compilations() as steps:
        out = run(model)
    assert new_tokens(out) != hf_generation["scout/plain"].tolist()
    assert steps.count("backend_compile_duration") == 2  # the prompt, and one for all steps


@pytest.mark.parametrize("name", cases.CONFIGS)
def test_rows_that_stopped_emit_pads_and_the_batch_ends_with_the_last(name, models, hf_generation):
    expected = hf_generation[f"{name}/stopped"].tolist()
    stops = hf_generation[f"{name}/stops"].tolist()
    out = run(models[name], eos_token_id=stops)
    assert new_tokens(out) == expected
    ends = [next(step + 1 for step, token in enumerate(row) if token in stops) for row in expected]
    assert out.lengths.tolist() == ends
    assert max(ends) == len(expected[0]) < N
    assert len(set(ends)) > 1


def test_a_prompt_shorter_than_a_chunk_continues_as_without_a_cache(scout):
    ids, mask = cases.INPUT_IDS[:, -3:], cases.ATTENTION_MASK[:, -3:]  # the bucket is five times as long
    out = run(scout, ids, mask)
    whole = np.concatenate([mask, np.ones((4, N), int)], axis=1)
    logits = jax.jit(lambda tokens: scout(tokens, jnp.asarray(whole)).logits)(out.sequences)
    np.testing.assert_array_equal(out.sequences[:, 3:], jnp.argmax(logits, axis=-1)[:, 2:-1])


def test_what_fills_up_a_bucket_has_no_temperature():
    factors = attention_temperature(jnp.array([-99, -9, -1, 0]), 4, 1.0, Numerics.like_hf("float32"))
    assert factors.tolist() == [1.0] * 4


def test_all_rows_may_stop_at_the_first_token(scout, hf_generation):
    first = hf_generation["scout/plain"][:, 0].tolist()
    out = run(scout, eos_token_id=first)
    assert new_tokens(out) == [[token] for token in first]
    assert out.lengths.tolist() == [1] * 4


def test_stop_tokens_and_pad_default_to_the_configurations_and_the_pad_to_the_first_stop(scout):
    config = scout.config
    assert special_tokens(config, None, None) == ((2,), 0)
    assert special_tokens(config, 7, None) == ((7,), 0)
    assert special_tokens(config, [7, 8], 9) == ((7, 8), 9)
    assert special_tokens(config, (), None) == ((), 0)
    bare = dataclasses.replace(config, pad_token_id=None, eos_token_id=(5, 6))
    assert special_tokens(bare, None, None) == ((5, 6), 5)
    assert special_tokens(dataclasses.replace(bare, eos_token_id=None), None, None) == ((), None)


def test_a_capacity_below_the_prompts_bucket_is_enough_and_used_to_the_last_slot(scout, hf_generation):
    out = run(scout, max_new_tokens=2, max_length=T + 2)
    assert new_tokens(out) == hf_generation["scout/plain"][:, :2].tolist()


def test_without_a_mask_pad_ids_are_padding_unless_they_stop_rows(scout, hf_generation):
    assert new_tokens(run(scout, mask=None)) == hf_generation["scout/plain"].tolist()
    as_tokens = run(scout, mask=None, eos_token_id=cases.PAD)
    assert new_tokens(as_tokens) == new_tokens(run(scout, mask=np.ones_like(cases.INPUT_IDS), eos_token_id=cases.PAD))
    assert new_tokens(as_tokens)[1] != hf_generation["scout/plain"][1].tolist()


def test_nothing_compiles_for_other_lengths_values_and_stops(scout):
    keys = jax.random.key(0), jax.random.key(1)

    def sample(length: int, new: int, temperature: float, stops: tuple[int, ...], key: jax.Array):
        ids = cases.INPUT_IDS[:, -length:] if length <= T else np.pad(cases.INPUT_IDS, ((0, 0), (length - T, 0)))
        return run(
            scout,
            ids,
            ids != cases.PAD,
            max_new_tokens=new,
            do_sample=True,
            temperature=temperature,
            top_k=stops[0],
            top_p=0.9,
            min_p=0.01,
            repetition_penalty=1.1,
            eos_token_id=stops,
            key=key,
        )

    with compilations() as first:
        sample(T, 5, 0.8, (3,), keys[0])
    with compilations() as second:
        sample(T, 19, 1.3, (5, 7, 11), keys[1])  # 32 slots, as many as the bucket of 18 has
        sample(9, 12, 0.5, (13,), keys[0])
        sample(16, 2, 2.0, (2,), keys[1])
    assert first
    assert second == []


def test_top_k_of_one_is_greedy_whatever_the_key(scout, hf_generation):
    out = run(scout, do_sample=True, temperature=0.5, top_k=1, key=jax.random.key(5))
    assert new_tokens(out) == hf_generation["scout/plain"].tolist()


def test_draws_repeat_with_the_key_and_differ_with_it_from_step_to_step_and_row_to_row(scout):
    # So hot that the distribution is flat: what differs, differs by the key only.
    flat = {"do_sample": True, "temperature": 1e6, "top_k": scout.config.vocab_size}
    first, again, other = (np.asarray(new_tokens(run(scout, **flat, key=jax.random.key(seed)))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert min(len(set(line)) for line in (*first.tolist(), *first.T.tolist())) > 1
    assert first.max() < scout.config.vocab_size


def test_a_step_takes_the_cache_over_and_leaves_the_tokens(scout, monkeypatch):
    taken = []
    programs = generation._programs

    def watched(*model):
        prefill, step = programs(*model)

        def watched_step(weights, cache, rows, settings):
            after = step(weights, cache, rows, settings)
            taken.append([leaf.is_deleted() for leaf in jax.tree.leaves(cache.views)])
            return after

        return generation._Programs(prefill, watched_step)

    monkeypatch.setattr(generation, "_programs", watched)
    run(scout)
    assert taken == [[True] * 2 * scout.config.num_hidden_layers] * (N - 1)


def test_the_stream_has_each_steps_tokens_once_and_the_next_step_does_not_wait(scout, hf_generation, monkeypatch):
    seen = []
    programs = generation._programs

    def watched(*model):
        prefill, step = programs(*model)

        def watched_step(*arguments):
            seen.append("step")
            return step(*arguments)

        return generation._Programs(prefill, watched_step)

    monkeypatch.setattr(generation, "_programs", watched)
    out = run(scout, stream=seen.append)
    streamed = seen[1::2]
    assert seen[:-1:2] == ["step"] * (N - 1)
    assert all(isinstance(tokens, np.ndarray) for tokens in streamed + seen[-1:])
    assert np.stack([*streamed, seen[-1]], axis=1).tolist() == new_tokens(out) == hf_generation["scout/plain"].tolist()


def test_the_stream_ends_with_the_last_row_and_its_errors_reach_the_caller(scout, hf_generation):
    streamed = []
    stops = hf_generation["scout/stops"].tolist()
    run(scout, eos_token_id=stops, stream=streamed.append)
    assert np.stack(streamed, axis=1).tolist() == hf_generation["scout/stopped"].tolist()

    def refuse(tokens):
        raise RuntimeError("no more, please")

    with pytest.raises(RuntimeError, match="no more, please"):
        run(scout, stream=refuse)


def test_no_new_tokens_are_the_prompt_and_compile_nothing(scout):
    with compilations() as steps:
        out = run(scout, max_new_tokens=0)
    np.testing.assert_array_equal(out.sequences, cases.INPUT_IDS)
    assert out.lengths.tolist() == [0] * 4
    assert steps == []


def test_one_new_token_needs_no_step(scout, hf_generation, monkeypatch):
    programs = generation._programs
    monkeypatch.setattr(generation, "_programs", lambda *model: programs(*model)._replace(step=None))
    assert new_tokens(run(scout, max_new_tokens=1)) == hf_generation["scout/plain"][:, :1].tolist()


def test_a_bfloat16_model_generates(hf_generation):
    out = run(build("maverick", hf_generation, "bfloat16"), max_new_tokens=3, do_sample=True, key=jax.random.key(0))
    assert out.sequences.shape == (4, T + 3)


def test_step_by_step_with_easydels_names_gives_the_same_tokens(scout, hf_generation):
    ids, mask = jnp.asarray(cases.INPUT_IDS), jnp.asarray(cases.ATTENTION_MASK)
    arguments = scout.prepare_inputs_for_generation(ids, T + 3, cases.PAD, attention_mask=mask)
    assert arguments["position_ids"][1].tolist() == [0, 0, 0, *range(10)]
    assert arguments["attention_mask"][1].tolist() == [False] * 3 + [True] * 13
    call = jax.jit(lambda tokens, arguments: scout(tokens, **arguments))
    found = []
    for _ in range(3):
        outputs = call(ids, arguments)
        ids = jnp.argmax(outputs.logits[:, -1:], axis=-1)
        found.append(ids)
        arguments = scout.update_inputs_for_generation(outputs, arguments)
    assert jnp.concatenate(found, axis=1).tolist() == hf_generation["scout/plain"][:, :3].tolist()
    assert arguments["position_ids"].tolist() == [[15], [12], [6], [3]]


def test_starts_stand_in_for_a_mask(scout):
    ids = jnp.asarray(cases.INPUT_IDS)
    by_starts = scout.prepare_inputs_for_generation(ids, T + 1, cases.PAD, starts=jnp.array([0, 3, 9, 12]))
    by_mask = scout.prepare_inputs_for_generation(
        ids, T + 1, cases.PAD, attention_mask=jnp.asarray(cases.ATTENTION_MASK)
    )
    for name in ("position_ids", "attention_mask"):
        np.testing.assert_array_equal(by_starts[name], by_mask[name])


MASK = cases.ATTENTION_MASK
KEY = jax.random.key(0)
WRONG = [
    ({"ids": [1, 2]}, "input_ids: expected a non-empty (batch, length), got (2,)"),
    ({"ids": np.ones((2, 0), int)}, "input_ids: expected a non-empty (batch, length), got (2, 0)"),
    ({"ids": [[1.0]]}, "input_ids: expected integers, got float64"),
    ({"ids": [[1, 61]], "mask": None}, "input_ids: expected ids from 0 to 60, got 61 in row 0, column 1"),
    ({"ids": [[1], [-1]], "mask": None}, "input_ids: expected ids from 0 to 60, got -1 in row 1, column 0"),
    ({"mask": MASK[:, 1:]}, "attention_mask: expected the shape of input_ids, (4, 13), got (4, 12)"),
    ({"mask": MASK[:, ::-1]}, "attention_mask: row 1 ends in padding; generation needs it on the left"),
    (
        {"mask": MASK * np.array([[1], [0], [1], [1]])},
        "input_ids: row 1 has no token that is real; begin an empty prompt with bos_token_id",
    ),
    ({"max_new_tokens": -1}, "max_new_tokens: expected an integer of at least 0, got -1"),
    ({"max_new_tokens": 1.5}, "max_new_tokens: expected an integer of at least 0, got 1.5"),
    (
        {"max_new_tokens": 140_000},
        "max_new_tokens: the longest row would have 140013 tokens, and max_position_embeddings allows 131072",
    ),
    ({"max_length": 26}, "max_length: 13 slots of prompt and 14 new tokens need 27, got 26"),
    ({"do_sample": True}, "key: do_sample needs a key, such as jax.random.key(0)"),
    ({"key": KEY}, "key: only read with do_sample=True"),
    ({"temperature": 0.5, "top_k": 3}, "temperature, top_k: only read with do_sample=True"),
    ({"eos_token_id": "2"}, "eos_token_id: expected token ids, got '2'"),
    ({"pad_token_id": 0.0}, "pad_token_id: expected token ids, got 0.0"),
    (
        {"do_sample": True, "key": KEY, "top_p": 0.0},
        "top_p: expected a number in (0, 1], for all rows or one a row, got 0.0",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_refused(scout, arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(scout, **arguments)
