"""Thirty random configurations in float64 against HF: logits of every real token, without a cache and in pieces."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import random_configs
from drifts import over
from impl_cases import under
from random_candidate import CLEAR_X, Candidate, routing_margin, routing_margins, worst_tokens

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics

from limits import limit

# By seed: `uncached` and `cached` logits, `router_logits/…` and `weights/…`.
Hf = dict[int, dict[str, np.ndarray]]
CASES = {seed: random_configs.draw(seed) for seed in random_configs.SEEDS}


@pytest.fixture(scope="module")
def hf(run_hf) -> Hf:
    return {int(seed): arrays for seed, arrays in run_hf("hf_random_configs.py").arrays.items()}


def build(case: random_configs.Case, weights: dict[str, np.ndarray], **changes: Any) -> Candidate:
    config = Llama4TextConfig.from_dict(case.config | changes)
    model = Llama4ForCausalLM.from_state_dict(config, weights, numerics=Numerics.like_hf("float64"))
    return Candidate(model, case)


def allowed(case: random_configs.Case) -> float:
    return limit("model", "f64", case.config["num_hidden_layers"])


@pytest.mark.parametrize("seed", CASES)
def test_logits_of_every_real_token_agree_uncached_and_in_pieces(seed: int, hf: Hf):
    case, expected = CASES[seed], hf[seed]
    candidate = build(case, under("weights/", expected))
    assert over(candidate.drifts(expected), allowed(case)) == {}, case


def test_thirty_distinct_configurations_are_compared_and_none_is_left_out_for_its_routing(hf: Hf):
    assert set(hf) == set(CASES)
    assert len({repr(case.config) for case in CASES.values()}) == 30
    unclear = {}
    for seed, case in CASES.items():
        margins = routing_margins(case.prompt, under("router_logits/", hf[seed]), case.config["num_experts_per_tok"])
        assert len(margins) == len(_filled(case).moe_layers)
        if not min(margins, default=np.inf) > CLEAR_X * allowed(case):
            unclear[seed] = margins
    # A seed that lands here may choose differently for rounding alone: `draw` has to give it another prompt.
    assert unclear == {}


def test_a_tie_between_experts_is_no_clear_choice():
    logits = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 2.0]])
    assert routing_margin(logits, 1) == 0
    assert routing_margin(logits[:1], 1) > 0
    assert routing_margin(logits, 3) == np.inf


def _filled(case: random_configs.Case) -> Llama4TextConfig:
    return Llama4TextConfig.from_dict(case.config)


def _kinds(case: random_configs.Case) -> set[tuple[int, str]]:
    config = _filled(case)
    return set(zip(config.no_rope_layers, config.layer_types, strict=True))


def _continues_over_a_chunk(case: random_configs.Case) -> bool:
    ends = np.cumsum(case.split)
    padded = np.argmax(case.prompt.attention_mask, axis=1)[:, None]
    first, last = ((slots - padded) // case.config["attention_chunk_size"] for slots in (ends - case.split, ends - 1))
    return bool(np.any((first != last) & (first >= 0) & (ends > case.split)))


MECHANISMS: dict[str, Callable[[random_configs.Case], bool]] = {
    "grouped heads": lambda case: 1 < case.config["num_key_value_heads"] < case.config["num_attention_heads"],
    "one kv head": lambda case: case.config["num_key_value_heads"] == 1,
    "a chunk within the prompt": lambda case: case.config["attention_chunk_size"] < sum(case.split),
    "a prefill longer than a chunk": lambda case: case.split[0] > case.config["attention_chunk_size"],
    "a continuation over the end of a chunk": lambda case: _continues_over_a_chunk(case),
    "a first call of padding only": lambda case: not case.prompt.attention_mask[:, : case.split[0]].any(axis=1).all(),
    "a prefill": lambda case: case.split[0] > 1,
    "moe by step": lambda case: "interleave_moe_layer_step" in case.config,
    "no moe layer, by list": lambda case: case.config.get("moe_layers") == [],
    "moe by list": lambda case: bool(case.config.get("moe_layers")),
    "dense and moe layers": lambda case: 0 < len(_filled(case).moe_layers) < case.config["num_hidden_layers"],
    "several experts a token": lambda case: 1 < case.config["num_experts_per_tok"] < case.config["num_local_experts"],
    "all experts a token": lambda case: case.config["num_experts_per_tok"] == case.config["num_local_experts"],
    "qk norm": lambda case: case.config["use_qk_norm"] and any(_filled(case).no_rope_layers),
    "llama3 scaling": lambda case: case.config["rope_parameters"]["rope_type"] == "llama3",
    "temperature": lambda case: case.config["attn_temperature_tuning"] and 0 in _filled(case).no_rope_layers,
    "tied embeddings": lambda case: case.config["tie_word_embeddings"],
    "attention bias": lambda case: case.config["attention_bias"],
    "rope by list": lambda case: "no_rope_layers" in case.config,
    "layer types by list": lambda case: "layer_types" in case.config,
    "rope without chunks": lambda case: (1, "full_attention") in _kinds(case),
    "chunks without rope": lambda case: (0, "chunked_attention") in _kinds(case),
    "left padding": lambda case: random_configs.padding(case.prompt, "left"),
    "right padding": lambda case: random_configs.padding(case.prompt, "right"),
    "holes": lambda case: random_configs.padding(case.prompt, "between"),
    "far positions": lambda case: case.prompt.position_ids.max() > sum(case.split),
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_some_of_the_configurations_have_it_and_some_do_not(mechanism: str):
    # One alone would hang on one seed.
    having = [seed for seed, case in CASES.items() if MECHANISMS[mechanism](case)]
    assert 2 <= len(having) <= len(CASES) - 2, having


def _first(fits: Callable[[random_configs.Case], bool]) -> int:
    return next(seed for seed, case in CASES.items() if fits(case))


def test_the_comparison_sees_a_chunk_that_is_one_too_long(hf: Hf):
    seed = _first(
        lambda case: MECHANISMS["a chunk within the prompt"](case) and (1, "chunked_attention") in _kinds(case)
    )
    case = CASES[seed]
    longer = build(case, under("weights/", hf[seed]), attention_chunk_size=case.config["attention_chunk_size"] + 1)
    assert max(worst_tokens(case.prompt, longer.uncached(), hf[seed]["uncached"]).values()) > allowed(case)


def test_the_comparison_sees_kv_heads_dealt_out_in_turn(hf: Hf):
    # Query heads 0, K, 2K, … first: HF's consecutive groups become every K-th head.
    seed = _first(MECHANISMS["grouped heads"])
    case, weights = CASES[seed], under("weights/", hf[seed])
    heads, kv_heads = (case.config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    order = np.arange(heads).reshape(-1, kv_heads).T.reshape(-1)
    for layer in range(case.config["num_hidden_layers"]):
        for name, axis in (("q_proj.weight", 0), ("q_proj.bias", 0), ("o_proj.weight", 1)):
            path = f"model.layers.{layer}.self_attn.{name}"
            if path in weights:
                apart = np.stack(np.split(weights[path], heads, axis))[order]
                weights[path] = np.concatenate(list(apart), axis)
    tiled = build(case, weights)
    assert max(worst_tokens(case.prompt, tiled.uncached(), hf[seed]["uncached"]).values()) > allowed(case)
