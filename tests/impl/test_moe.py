"""Mixture of experts against a loop over tokens, and what must be refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_llama4 import Llama4Router, Llama4TextConfig, Llama4TextExperts, Llama4TextMoe, Numerics, bmm

from limits import limit

FLOAT64 = Numerics.uniform("float64")


def config(top_k: int = 2) -> Llama4TextConfig:
    return Llama4TextConfig(
        hidden_size=6,
        intermediate_size=10,
        num_local_experts=4,
        num_experts_per_tok=top_k,
        initializer_range=0.5,
        num_hidden_layers=1,
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_router_scores_only_the_chosen_each_by_its_own_sigmoid(top_k):
    router = Llama4Router(config(top_k), numerics=FLOAT64, rngs=nnx.Rngs(0))
    tokens = np.random.default_rng(1).standard_normal((9, 6))
    scores, logits = map(np.asarray, router(jnp.asarray(tokens)))
    kernel = np.asarray(router.kernel[...])
    norms = np.linalg.norm(tokens, axis=1).max() * np.linalg.norm(kernel, axis=0).max()
    np.testing.assert_allclose(logits, tokens @ kernel, rtol=0, atol=limit("dot", "f64", 6) * norms)
    chosen = np.argsort(-logits, axis=1)[:, :top_k]
    expected = np.zeros_like(logits)
    np.put_along_axis(expected, chosen, sigmoid(np.take_along_axis(logits, chosen, 1)), 1)
    np.testing.assert_allclose(scores, expected, atol=limit("transcendental", "f64"), rtol=0)


def test_router_ties_go_to_the_lowest_index():
    router = Llama4Router(config(2), numerics=FLOAT64, rngs=nnx.Rngs(0))
    router.kernel.set_value(jnp.zeros_like(router.kernel[...]))
    scores, _ = router(jnp.ones((1, 6)))
    np.testing.assert_array_equal(scores, [[0.5, 0.5, 0.0, 0.0]])


@pytest.mark.parametrize("top_k", [1, 2])
def test_mixture_equals_a_loop_that_scales_the_input_of_each_chosen_expert(top_k):
    moe = Llama4TextMoe(config(top_k), numerics=FLOAT64, rngs=nnx.Rngs(3))
    hidden = np.random.default_rng(2).standard_normal((2, 5, 6))
    out, logits = moe(jnp.asarray(hidden))
    gate_up, down = np.asarray(moe.experts.gate_up_proj[...]), np.asarray(moe.experts.down_proj[...])

    expected = np.asarray(moe.shared_expert(jnp.asarray(hidden.reshape(10, 6)))).copy()
    for token, x in enumerate(hidden.reshape(10, 6)):
        for expert in np.argsort(-np.asarray(logits)[token])[:top_k]:
            gate, up = np.split((x * sigmoid(np.asarray(logits)[token, expert])) @ gate_up[expert], 2)
            expected[token] += (up * gate * sigmoid(gate)) @ down[expert]
    drift = np.linalg.norm(np.asarray(out).reshape(10, 6) - expected) / np.linalg.norm(expected)
    assert drift <= limit("block", "f64")


def test_rows_that_cannot_be_grouped_by_expert_are_refused():
    experts = Llama4TextExperts(config(), numerics=FLOAT64, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"7 rows cannot be grouped by 4 experts \(input \(7, 6\)\)"):
        experts(jnp.ones((7, 6)))


def test_each_block_of_rows_meets_its_own_expert():
    experts = Llama4TextExperts(config(), numerics=FLOAT64, rngs=nnx.Rngs(0))
    row = jnp.ones((1, 6))
    out = np.asarray(experts(jnp.tile(row, (8, 1)))).reshape(4, 2, 6)
    np.testing.assert_array_equal(out[:, 0], out[:, 1])
    assert len(np.unique(out[:, 0, 0])) == 4


@pytest.mark.parametrize(
    ("left", "right", "out"), [((3,), (3, 5), (5,)), ((2, 3), (3, 5), (2, 5)), ((4, 2, 3), (4, 3, 5), (4, 2, 5))]
)
def test_bmm_takes_vectors_matrices_and_batches(left, right, out):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(left), rng.standard_normal(right)
    found = bmm(jnp.asarray(a), jnp.asarray(b), FLOAT64.precision)
    assert found.shape == out
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    np.testing.assert_allclose(found, a @ b, rtol=0, atol=limit("dot", "f64", 3) * norms)


def test_of_equal_logits_the_lowest_expert_is_chosen():
    router = Llama4Router(config(top_k=2), numerics=FLOAT64, rngs=nnx.Rngs(0))
    kernel = np.array(router.kernel[...])
    kernel[:, 2] = kernel[:, 1] = kernel[:, 3]  # all but expert 0 are exactly tied
    router.kernel[...] = jnp.asarray(kernel)
    x = np.random.default_rng(0).standard_normal((16, 6))
    scores, logits = router(jnp.asarray(x))
    first = np.asarray(logits)[:, 0] > np.asarray(logits)[:, 1]
    assert {True, False} == set(first.tolist())
    expected = np.where(first[:, None], [True, True, False, False], [False, True, True, False])
    assert (np.asarray(scores != 0) == expected).all()
