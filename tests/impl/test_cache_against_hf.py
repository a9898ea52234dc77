"""The prompt through the caches in pieces, against HF fed the same pieces through its DynamicCache, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, LABELS, PROMPT, SPLITS, classified_ids

from jax_llama4 import Llama4ForCausalLM, Llama4ForSequenceClassification, Llama4TextConfig, Numerics

from limits import limit

FLOAT64 = Numerics.like_hf("float64")
MAX_LENGTH = 30  # more than the prompt has, and no multiple of a chunk
REAL = PROMPT.attention_mask.astype(bool)


def rel_l2(got, expected) -> float:
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))


@nnx.jit
def call(model, ids, mask, positions, cache):
    out = model(ids, mask, positions, past_key_values=cache)
    return out.logits, out.past_key_values


def in_pieces(model, split: tuple[int, ...], mask_of_all_slots: bool = False) -> np.ndarray:
    cache = model.init_cache(len(PROMPT.rows), MAX_LENGTH)
    logits, start = [], 0
    for length in split:
        piece = slice(start, start + length)
        mask = PROMPT.attention_mask[:, piece]
        if mask_of_all_slots:
            mask = np.pad(PROMPT.attention_mask, ((0, 0), (0, MAX_LENGTH - PROMPT.attention_mask.shape[1])))
        out, cache = call(
            model,
            jnp.asarray(PROMPT.input_ids[:, piece]),
            jnp.asarray(mask),
            jnp.asarray(PROMPT.position_ids[:, piece]),
            cache,
        )
        logits.append(np.asarray(out))
        start += length
    assert start == PROMPT.input_ids.shape[1]
    return np.concatenate(logits, axis=1)


@pytest.fixture(scope="module", params=CONFIGS)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(case, hf_runs) -> Llama4ForCausalLM:
    config = Llama4TextConfig.from_dict(CONFIGS[case])
    return Llama4ForCausalLM.from_state_dict(config, hf_runs[case].weights, numerics=FLOAT64)


def drifts_by_row(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Of the real tokens of each row: what padding sees differs between the two and means nothing."""
    return {name: rel_l2(found[i][REAL[i]], expected[i][REAL[i]]) for i, name in enumerate(PROMPT.rows)}


@pytest.mark.parametrize("split", SPLITS)
def test_pieces_through_the_cache_agree_with_hfs_and_with_no_cache(case, model, split, hf_runs):
    found = in_pieces(model, SPLITS[split])
    allowed = limit("model", "f64", model.config.num_hidden_layers)
    for other in (f"cached.{split}", "logits"):
        drifts = drifts_by_row(found, hf_runs[case].outputs[other])
        assert {row: drift for row, drift in drifts.items() if not drift <= allowed} == {}, other


def test_a_mask_of_all_slots_says_the_same_as_one_of_the_new_tokens(model):
    split = SPLITS["pieces and steps"]
    np.testing.assert_array_equal(in_pieces(model, split, mask_of_all_slots=True)[REAL], in_pieces(model, split)[REAL])


def test_the_comparison_sees_a_forgotten_chunk_origin(case, model, hf_runs):
    # Without the padding mask of the first call, chunks of the padded row begin at slot 0.
    cache = model.init_cache(len(PROMPT.rows), MAX_LENGTH)
    found, _ = call(
        model, *map(jnp.asarray, (PROMPT.input_ids, np.ones_like(PROMPT.input_ids), PROMPT.position_ids)), cache
    )
    drifts = drifts_by_row(np.asarray(found), hf_runs[case].outputs["logits"])
    allowed = limit("model", "f64", model.config.num_hidden_layers)
    assert drifts["plain"] <= allowed < drifts["left padding"]


@pytest.mark.parametrize("kind", LABELS)
def test_sequence_classification_agrees_with_hf(case, kind, hf_runs):
    num_labels, problem_type, labels = LABELS[kind]
    config = Llama4TextConfig.from_dict(CONFIGS[case] | {"num_labels": num_labels, "problem_type": problem_type})
    expected = {name: hf_runs[case].outputs[f"classified.{kind}.{name}"] for name in ("logits", "loss", "weight")}
    state = {name: value for name, value in hf_runs[case].weights.items() if name != "lm_head.weight"}
    classifier = Llama4ForSequenceClassification.from_state_dict(
        config, state | {"score.weight": expected["weight"]}, numerics=FLOAT64
    )
    found = nnx.jit(lambda model, *arguments: model(*arguments))(
        classifier, jnp.asarray(classified_ids()), jnp.asarray(PROMPT.attention_mask), None, jnp.asarray(labels)
    )
    allowed = limit("model", "f64", config.num_hidden_layers)
    # The all-pad row is scored at its first token, which sees itself in both.
    drifts = {f"row {i}": rel_l2(found.logits[i], expected["logits"][i]) for i in range(len(PROMPT.rows))}
    drifts["loss"] = rel_l2(found.loss, expected["loss"])
    assert {name: drift for name, drift in drifts.items() if not drift <= allowed} == {}
