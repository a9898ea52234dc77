"""The whole text model: defaults, loss, outputs, and the text of every refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics
from jax_llama4.losses import causal_lm_loss

from limits import limit

FLOAT64 = Numerics.uniform("float64")
CONFIG = Llama4TextConfig.from_dict(CONFIGS["maverick"])
IDS = jnp.asarray(PROMPT.input_ids)  # one shape for all tests here: each new shape costs a compilation per operation
SHAPE = (5, 27)


@pytest.fixture(scope="module")
def model() -> Llama4ForCausalLM:
    return Llama4ForCausalLM(CONFIG, numerics=FLOAT64, rngs=nnx.Rngs(0))


def test_without_a_mask_or_positions_all_tokens_are_real_and_counted_from_zero(model):
    explicit = model(IDS, jnp.ones(SHAPE, dtype=int), jnp.tile(jnp.arange(27), (5, 1)))
    np.testing.assert_array_equal(model(IDS).logits, explicit.logits)


def test_embeddings_may_replace_ids(model):
    np.testing.assert_array_equal(model(inputs_embeds=model.model.embed_tokens(IDS)).logits, model(IDS).logits)


def test_a_later_token_changes_no_earlier_logits(model):
    changed = IDS.at[:, 6].set(0)
    before, after = model(IDS).logits, model(changed).logits
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert (np.asarray(before[:, 6:]) != np.asarray(after[:, 6:])).any()


def test_outputs_are_a_pytree_with_hfs_fields(model):
    out = model(IDS, labels=IDS, output_hidden_states=True, output_router_logits=True)
    assert set(out.to_dict()) == {"loss", "logits", "hidden_states", "router_logits"}
    assert len(out.hidden_states) == CONFIG.num_hidden_layers + 1
    assert [logits.shape for logits in out.router_logits] == [(5 * 27, CONFIG.num_local_experts)] * 2
    doubled = jax.tree.map(lambda leaf: leaf * 2, out)
    np.testing.assert_array_equal(doubled.loss, out.loss * 2)
    assert type(out).from_dict(out.to_dict()).replace(loss=None).loss is None


def test_router_logits_may_be_asked_for_by_the_config():
    config = Llama4TextConfig.from_dict(CONFIGS["maverick"] | {"output_router_logits": True})
    out = Llama4ForCausalLM(config, numerics=FLOAT64, rngs=nnx.Rngs(0))(IDS)
    assert len(out.router_logits) == len(config.moe_layers)


def test_loss_shifts_ignores_and_averages():
    logits = np.random.default_rng(0).standard_normal((1, 4, 3))
    labels = np.array([[0, 2, -100, 1]])  # the first is never predicted, the third does not count
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(log_probs[0, 0, 2] + log_probs[0, 2, 1]) / 2
    found = causal_lm_loss(jnp.asarray(logits), jnp.asarray(labels), FLOAT64)
    np.testing.assert_allclose(found, expected, rtol=limit("softmax", "f64"))


def test_loss_of_nothing_is_nan():
    assert jnp.isnan(causal_lm_loss(jnp.zeros((1, 3, 2)), jnp.full((1, 3), -100), FLOAT64))


def test_loss_is_taken_in_its_own_role():
    numerics = Numerics.like_hf("bfloat16")
    assert (
        causal_lm_loss(jnp.zeros((1, 3, 2), numerics.compute), jnp.zeros((1, 3), int), numerics).dtype == numerics.loss
    )


def test_a_tied_head_reads_the_embedding_table():
    config = Llama4TextConfig.from_dict(CONFIGS["unusual"])
    model = Llama4ForCausalLM(config, numerics=FLOAT64, rngs=nnx.Rngs(0))
    assert model.lm_head.embedding is model.model.embed_tokens.embedding
    hidden = model.model(IDS).last_hidden_state
    expected = np.asarray(hidden) @ np.asarray(model.model.embed_tokens.embedding[...]).T
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(IDS).logits, expected, rtol=0, atol=limit("dot", "f64", 24) * scale)


SHAPES = "expected the shape of the tokens, (5, 27), got "
WRONG = [
    ({}, "expected exactly one of input_ids and inputs_embeds, got neither"),
    (
        {"input_ids": IDS, "inputs_embeds": jnp.ones((5, 27, 24))},
        "expected exactly one of input_ids and inputs_embeds, got both, (5, 27) and (5, 27, 24)",
    ),
    ({"input_ids": IDS[0]}, "input_ids: expected a non-empty (batch, length), got (27,)"),
    ({"input_ids": IDS[:0]}, "input_ids: expected a non-empty (batch, length), got (0, 27)"),
    ({"input_ids": jnp.ones(SHAPE)}, "input_ids: expected integers, got float64"),
    (
        {"inputs_embeds": jnp.ones((5, 27, 23))},
        "inputs_embeds: expected a non-empty (batch, length, 24), got (5, 27, 23)",
    ),
    ({"input_ids": IDS, "attention_mask": jnp.ones((5, 28), int)}, f"attention_mask: {SHAPES}(5, 28)"),
    ({"input_ids": IDS, "attention_mask": jnp.ones((5, 1, 27, 27), bool)}, f"attention_mask: {SHAPES}(5, 1, 27, 27)"),
    ({"input_ids": IDS, "position_ids": jnp.arange(27)}, f"position_ids: {SHAPES}(27,)"),
    ({"input_ids": IDS, "labels": IDS[:1]}, f"labels: {SHAPES}(1, 27)"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_refused(model, arguments, message):
    with pytest.raises(ValueError) as caught:
        model(**arguments)
    assert str(caught.value) == message
