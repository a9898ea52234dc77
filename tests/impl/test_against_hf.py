"""The model in float64 against HF with its float32 islands lifted: agreement here means equal semantics."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics, Tap
from jax_llama4.masks import Llama4TextMasks
from jax_llama4.rope import inverse_frequencies

from limits import limit

FLOAT64 = Numerics.like_hf("float64")


def rel_l2(got, expected) -> float:
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))


def build(case: str, hf_runs) -> Llama4ForCausalLM:
    config = Llama4TextConfig.from_dict(CONFIGS[case])
    return Llama4ForCausalLM.from_state_dict(config, hf_runs[case].weights, numerics=FLOAT64)


def run(model: Llama4ForCausalLM):
    return model(
        jnp.asarray(PROMPT.input_ids),
        jnp.asarray(PROMPT.attention_mask),
        jnp.asarray(PROMPT.position_ids),
        jnp.asarray(PROMPT.labels),
        output_attentions=True,
        output_hidden_states=True,
        output_router_logits=True,
    )


@pytest.mark.parametrize("case", CONFIGS)
def test_every_row_layer_and_the_loss_agree_in_float64(case, hf_runs):
    model, expected = build(case, hf_runs), hf_runs[case].outputs
    found = run(model)
    allowed = limit("model", "f64", model.config.num_hidden_layers)

    drifts = {f"row '{row}'": rel_l2(found.logits[i], expected["logits"][i]) for i, row in enumerate(PROMPT.rows)}
    for i, hidden in enumerate(found.hidden_states):
        drifts[f"hidden_states[{i}]"] = rel_l2(hidden, expected[f"hidden_states.{i}"])
    for i, logits in enumerate(found.router_logits):
        drifts[f"router_logits[{i}]"] = rel_l2(logits, expected[f"router_logits.{i}"])
    real = PROMPT.attention_mask.astype(bool)
    for i, weights in enumerate(found.attentions):
        # By query; what padding looks at means nothing. In a dense cache S would be the slots instead.
        drifts[f"attentions[{i}]"] = rel_l2(
            np.moveaxis(np.asarray(weights), 1, 2)[real], np.moveaxis(expected[f"attentions.{i}"], 1, 2)[real]
        )
    drifts["loss"] = rel_l2(found.loss, expected["loss"])

    assert f"router_logits.{len(found.router_logits)}" not in expected
    assert len(found.attentions) == model.config.num_hidden_layers
    assert {name: drift for name, drift in drifts.items() if not drift <= allowed} == {}


@pytest.mark.parametrize("case", CONFIGS)
def test_float32_inverse_frequencies_equal_hfs_bit_for_bit(case, hf_runs):
    config = Llama4TextConfig.from_dict(CONFIGS[case])
    found = inverse_frequencies(config.rope_parameters, config.head_dim, np.dtype("float32"))
    np.testing.assert_array_equal(found, hf_runs[case].inv_freq_float32)


@pytest.mark.parametrize("case", CONFIGS)
def test_the_module_tree_is_hfs_plus_taps_and_masks(case, hf_runs):
    own = {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_modules(build(case, hf_runs))
        if not isinstance(module, Tap | Llama4TextMasks)
    }
    assert set(own) == set(hf_runs[case].modules)


@pytest.mark.parametrize("case", CONFIGS)
def test_hfs_config_is_read_and_written_back_whole(case, hf_runs):
    written = hf_runs[case].config
    config = Llama4TextConfig.from_dict(written)
    assert config == Llama4TextConfig.from_dict(CONFIGS[case])
    ours = config.to_dict()
    assert {name: written[name] for name in ours} == ours
