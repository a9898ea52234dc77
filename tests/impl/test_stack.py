"""Scanned against unrolled layers: the same weights give the same numbers and cache; remat changes no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT, draw_weights

from jax_llama4 import InsertMetadata, Llama4ForCausalLM, Llama4TextConfig, Numerics, PagePool, to_state_dict
from jax_llama4.stack import period_of
from jax_llama4.text import layer_kinds

from limits import limit

FLOAT64 = Numerics.like_hf("float64")
# Two periods of four layers, no two of which are alike: rope or not, mixture or dense, chunked or full.
CONFIG = Llama4TextConfig.from_dict(CONFIGS["maverick"] | {"num_hidden_layers": 8})
IDS, MASK = jnp.asarray(PROMPT.input_ids), jnp.asarray(PROMPT.attention_mask)
REAL = PROMPT.attention_mask.astype(bool)
ALLOWED = limit("model", "f64", 8)


def build(**options) -> Llama4ForCausalLM:
    shapes = {
        name: tensor.shape
        for name, tensor in to_state_dict(Llama4ForCausalLM(CONFIG, numerics=FLOAT64, rngs=nnx.Rngs(0))).items()
    }
    return Llama4ForCausalLM.from_state_dict(CONFIG, draw_weights(shapes), numerics=FLOAT64, **options)


@pytest.fixture(scope="module")
def unrolled() -> Llama4ForCausalLM:
    return build()


@pytest.fixture(scope="module")
def scanned() -> Llama4ForCausalLM:
    return build(scan_layers=True)


def rel_l2(got, expected) -> float:
    return float(np.linalg.norm(np.asarray(got) - np.asarray(expected)) / np.linalg.norm(expected))


@nnx.jit
def everything(model, ids, mask):
    return model(ids, mask, labels=ids, output_attentions=True, output_hidden_states=True, output_router_logits=True)


@pytest.mark.parametrize(
    ("change", "period"),
    [
        ({}, 4),
        ({"no_rope_layer_interval": 3, "interleave_moe_layer_step": 1, "num_hidden_layers": 6}, 3),
        ({"no_rope_layer_interval": 3, "num_hidden_layers": 6}, 6),
        ({"no_rope_layers": [1] * 8, "interleave_moe_layer_step": 1}, 1),
        ({"num_hidden_layers": 7}, 7),
    ],
)
def test_the_period_is_the_least_that_repeats_and_divides(change, period):
    assert period_of(layer_kinds(Llama4TextConfig.from_dict(CONFIG.to_dict() | _underived() | change))) == period


def _underived() -> dict:
    return dict.fromkeys(("moe_layers", "no_rope_layers", "layer_types"))


def test_scanning_changes_rounding_only(unrolled, scanned):
    assert len(scanned.model.layers) == 4
    found, expected = everything(scanned, IDS, MASK), everything(unrolled, IDS, MASK)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    drifts = [rel_l2(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)]
    assert max(drifts) <= ALLOWED
    assert len(found.hidden_states) == 9 and len(found.attentions) == 8 and len(found.router_logits) == 4


def test_scanned_weights_are_written_under_hfs_names(unrolled, scanned):
    found, expected = to_state_dict(scanned), to_state_dict(unrolled)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def gradients(model) -> tuple[dict[str, np.ndarray], str]:
    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)

    def loss(weights):
        return nnx.merge(graphdef, weights, rest)(IDS, MASK, labels=IDS).loss

    program = jax.jit(jax.grad(loss))
    return to_state_dict(nnx.merge(graphdef, program(weights), rest)), str(jax.make_jaxpr(jax.grad(loss))(weights))


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("policy", ["nothing_saveable", "dots_with_no_batch_dims_saveable"])
def test_gradients_are_the_same_scanned_and_recomputed(unrolled, scan_layers, policy):
    found, program = gradients(build(scan_layers=scan_layers, remat_policy=policy))
    expected, plain = gradients(unrolled)
    assert program.count("remat") > plain.count("remat") == 0
    drifts = {name: rel_l2(found[name], expected[name]) for name in expected}
    assert {name: drift for name, drift in drifts.items() if not drift <= ALLOWED} == {}


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"remat_policy: expected one of .*dots_saveable.*, got 'everything'"):
        Llama4ForCausalLM(CONFIG, rngs=nnx.Rngs(0), remat_policy="everything")


@nnx.jit
def call(model, ids, mask, cache, metadata=None):
    out = model(ids, mask, past_key_values=cache, cache_metadata=metadata)
    return out.logits, out.past_key_values


def test_scanned_layers_fill_a_dense_cache(unrolled, scanned):
    expected = everything(unrolled, IDS, MASK).logits
    cache, logits = scanned.init_cache(5, 30), []
    assert [view.key.shape[:3] for view in cache.views] == [(2, 5, 8)] * 3 + [(2, 5, 30)]
    for piece in (slice(0, 13), slice(13, 14), slice(14, 27)):
        found, cache = call(scanned, IDS[:, piece], MASK[:, piece], cache)
        logits.append(found)
    assert rel_l2(np.concatenate(logits, axis=1)[REAL], np.asarray(expected)[REAL]) <= ALLOWED
    _, cache = call(scanned, IDS[:1, :13], None, cache, InsertMetadata(jnp.array([2])))
    ids = jnp.zeros((5, 1), int).at[2].set(IDS[0, 13])
    found, _ = call(scanned, ids, None, cache)
    assert rel_l2(found[2, 0], expected[0, 13]) <= ALLOWED


def test_scanned_layers_fill_pages(unrolled, scanned):
    expected = everything(unrolled, IDS, MASK).logits
    pool, cache = PagePool(8, 4, rows=2, pages_per_row=6), scanned.init_ragged_pages(8, 4)
    _, cache = call(scanned, IDS[:1, :13], None, cache, pool.step([0, 13]))
    found, _ = call(scanned, IDS[:1, 13:14], None, cache, pool.step([0, 1], most_new_tokens=1))
    assert rel_l2(found[0, 0], expected[0, 13]) <= ALLOWED


def test_random_weights_of_stacked_layers_differ():
    layer = Llama4ForCausalLM(CONFIG, rngs=nnx.Rngs(0), scan_layers=True).model.layers[0]
    first, second = np.asarray(layer.self_attn.q_proj.kernel[...])
    assert layer.layer_numbers == (0, 4) and (first != second).all()
