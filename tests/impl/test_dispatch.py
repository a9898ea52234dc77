"""Every way to dispatch tokens to experts against the dense one: values and gradients, whatever the imbalance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AbstractMesh

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Llama4TextMoe, Numerics
from jax_llama4.dispatch import (
    HIGHEST_TILE,
    LOWEST_TILE,
    check_dispatch,
    dispatch_under,
    grouped_dot,
    grouped_outer,
    permute,
    sort_by_expert,
    tile_height,
)
from jax_llama4.sharding import RULES, Placement

from limits import limit

FLOAT64 = Numerics.uniform("float64")
SPARSE = ("auto", "tiled", "ragged")
WIDTH, INNER = 6, 10


def config(experts: int = 4, top_k: int = 2) -> Llama4TextConfig:
    return Llama4TextConfig(
        vocab_size=32,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        intermediate_size_mlp=14,
        num_local_experts=experts,
        num_experts_per_tok=top_k,
        initializer_range=0.5,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        attention_chunk_size=4,
    )


def mixture(how: str, experts: int = 4, top_k: int = 2, numerics: Numerics = FLOAT64) -> Llama4TextMoe:
    return Llama4TextMoe(config(experts, top_k), numerics=numerics, rngs=nnx.Rngs(3), moe_dispatch=how)


def drift(found, expected) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def kernels(experts: int) -> np.ndarray:
    return np.random.default_rng(experts).standard_normal((experts, WIDTH, INNER))


def rows_of(sizes, width: int, extra: int = 0) -> np.ndarray:
    return np.random.default_rng(int(sum(sizes))).standard_normal((int(sum(sizes)) + extra, width))


# Empty groups first, last and in the middle; one group with everything; more rows than a tile is high; one row.
SIZES = [(0, 3, 0, 5, 0), (0, 0, 9), (9, 0, 0), (1,), (0, 1, 0), (1, 1, 1), (HIGHEST_TILE * 2 + 1, 0, 1), (4, 4, 4, 4)]


@pytest.mark.parametrize("how", SPARSE)
@pytest.mark.parametrize("sizes", SIZES)
def test_each_row_meets_its_own_kernel(sizes, how):
    rows, matrices = rows_of(sizes, WIDTH), kernels(len(sizes))
    found = grouped_dot(jnp.asarray(rows), jnp.asarray(matrices), jnp.asarray(sizes), how, None)
    expected = np.einsum("ri,rij->rj", rows, matrices[np.repeat(np.arange(len(sizes)), sizes)])
    assert drift(found, expected) <= limit("block", "f64")


@pytest.mark.parametrize("how", SPARSE)
@pytest.mark.parametrize("sizes", SIZES)
def test_sums_over_a_group_take_its_rows_only(sizes, how):
    left, right = rows_of(sizes, WIDTH), rows_of(sizes, INNER)[::-1]
    found = np.asarray(grouped_outer(jnp.asarray(left), jnp.asarray(right), jnp.asarray(sizes), how, None))
    ends = np.cumsum(sizes)
    for expert, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        expected = left[end - size : end].T @ right[end - size : end]
        rows = max(size, 1)
        np.testing.assert_allclose(found[expert], expected, atol=limit("block", "f64") * rows, rtol=0)


@pytest.mark.parametrize("how", ("auto", "tiled"))
def test_rows_after_the_last_group_change_nothing(how):
    sizes, matrices = (2, 0, 3), jnp.asarray(kernels(3))
    rows = rows_of(sizes, WIDTH, extra=4)
    spoiled = rows.copy()
    spoiled[5:] = np.nan

    def value(rows, matrices):
        return jnp.sum(jnp.sin(grouped_dot(rows, matrices, jnp.asarray(sizes), how, None)[:5]))

    clean, found = (jax.grad(value, argnums=(0, 1))(jnp.asarray(x), matrices) for x in (rows, spoiled))
    for a, b in zip(clean, found, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found[0][5:], 0)


@pytest.mark.parametrize("how", SPARSE)
def test_second_derivatives_equal_those_of_the_dense_product(how):
    sizes = (3, 0, 2)
    owner = jnp.repeat(jnp.arange(3), jnp.asarray(sizes), total_repeat_length=5)
    rows, matrices = jnp.asarray(rows_of(sizes, WIDTH)), jnp.asarray(kernels(3))

    def gradient_norm(product):
        def value(rows, matrices):
            return jnp.sum(jnp.sin(product(rows, matrices)))

        def norm(rows, matrices):
            return sum(jnp.sum(part**3) for part in jax.grad(value, argnums=(0, 1))(rows, matrices))

        return jax.grad(norm, argnums=(0, 1))(rows, matrices)

    found = gradient_norm(lambda rows, matrices: grouped_dot(rows, matrices, jnp.asarray(sizes), how, None))
    expected = gradient_norm(lambda rows, matrices: jnp.einsum("ri,rij->rj", rows, matrices[owner]))
    for a, b in zip(found, expected, strict=True):
        assert drift(a, b) <= limit("block", "f64")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
@settings(max_examples=30)
def test_sorting_groups_rows_stably_and_leaves_strangers_last(owners):
    order, inverse, sizes = (np.asarray(x) for x in sort_by_expert(jnp.asarray(owners), 5))
    np.testing.assert_array_equal(np.asarray(owners)[order], sorted(owners))
    assert all(a < b for a, b in itertools.pairwise(order) if owners[a] == owners[b])
    np.testing.assert_array_equal(order[inverse], np.arange(len(owners)))
    np.testing.assert_array_equal(sizes, np.bincount(owners, minlength=6)[:5])


def test_a_permutation_sends_gradients_back_where_the_rows_came_from():
    order = jnp.asarray([2, 0, 3, 1])
    x, weights = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3)))
    gradient = jax.grad(lambda x: jnp.sum(weights * permute(x, order, jnp.argsort(order))))(x)
    np.testing.assert_array_equal(gradient, jax.grad(lambda x: jnp.sum(weights * x[order]))(x))


def test_tiles_are_near_the_mean_group_and_within_bounds():
    assert [tile_height(rows, 4) for rows in (1, 16, 20, 64, 4000)] == [LOWEST_TILE, 4, 8, 16, HIGHEST_TILE]


@pytest.fixture(scope="module")
def programs():
    """Value, gradients and output of a mixture, compiled once for each way and number of chosen experts."""

    def compiled(how, top_k):
        graph, _ = nnx.split(mixture(how, top_k=top_k))

        def value(state, hidden):
            out, _ = nnx.merge(graph, state)(hidden)
            return jnp.sum(jnp.sin(out)), out

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))

    return {(how, top_k): compiled(how, top_k) for how in ("dense", "tiled", "ragged") for top_k in (1, 3)}


@given(
    seed=st.integers(0, 2**16),
    lean=st.lists(st.floats(-40, 40), min_size=4, max_size=4),
    tokens=st.sampled_from([1, 33]),
    top_k=st.sampled_from([1, 3]),
    how=st.sampled_from(["tiled", "ragged"]),
)
@settings(max_examples=40)
def test_any_imbalance_gives_the_dense_values_and_gradients(programs, seed, lean, tokens, top_k, how):
    hidden = np.random.default_rng(seed).standard_normal((1, tokens, WIDTH))
    hidden[..., 0] = 1.0  # what the router's first row multiplies: `lean` pulls all tokens towards some experts
    _, state = nnx.split(mixture("dense", top_k=top_k))
    state["router"]["kernel"].set_value(state["router"]["kernel"][...].at[0].set(jnp.asarray(lean)))
    (_, out), gradients = programs[how, top_k](state, jnp.asarray(hidden))
    (_, dense_out), dense_gradients = programs["dense", top_k](state, jnp.asarray(hidden))
    assert drift(out, dense_out) <= limit("block", "f64")
    flat, dense_flat = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)]) for x in (gradients, dense_gradients)
    )
    assert np.isfinite(flat).all()
    assert drift(flat, dense_flat) <= limit("block", "f64")


@pytest.mark.parametrize("how", SPARSE)
@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_low_precision_rounds_as_the_dense_form(dtype, how):
    numerics = Numerics.like_hf({"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[dtype])
    hidden = jnp.asarray(np.random.default_rng(1).standard_normal((1, 40, WIDTH)), numerics.compute)
    found, dense = (jax.jit(mixture(word, numerics=numerics))(hidden)[0] for word in (how, "dense"))
    assert found.dtype == numerics.compute
    assert drift(found, dense) <= limit("block", dtype)


@pytest.mark.parametrize("how", SPARSE)
def test_a_score_that_underflows_adds_nothing_and_hurts_nothing(how):
    found, dense = (mixture(word, top_k=2) for word in (how, "dense"))
    hidden = jnp.ones((1, 3, WIDTH))
    for moe in (found, dense):
        moe.router.kernel.set_value(jnp.asarray([[-1e3, -1e3, -1e3, 0.1]] * WIDTH))
    assert np.asarray(found.router(hidden[0])[0]).min() == 0
    np.testing.assert_allclose(found(hidden)[0], dense(hidden)[0], atol=limit("block", "f64"), rtol=0)


@pytest.mark.parametrize("how", SPARSE)
def test_it_runs_inside_a_scan_and_under_vmap(how):
    moe, dense = mixture(how), mixture("dense")
    hidden = jnp.asarray(np.random.default_rng(4).standard_normal((3, 1, 5, WIDTH)))
    expected = np.stack([np.asarray(dense(x)[0]) for x in hidden])
    scanned = lax.scan(lambda carry, x: (carry, moe(x)[0]), 0, hidden)[1]
    assert drift(scanned, expected) <= limit("block", "f64")
    if how == "tiled":
        assert drift(jax.vmap(lambda x: moe(x)[0])(hidden), expected) <= limit("block", "f64")


def test_no_product_is_larger_than_a_tile_by_one_expert():
    hidden = jnp.ones((1, 64, WIDTH))

    def first_products(how):
        """Operands of the products that gate and up come from."""
        text = jax.jit(lambda x: mixture(how, experts=8, top_k=1)(x)[0]).lower(hidden).as_text()
        found = [line.rpartition(" : (")[2] for line in text.splitlines() if "stablehlo.dot_general" in line]
        return [operands.partition(")")[0] for operands in found if f"{WIDTH}x{2 * INNER}xf64" in operands]

    assert first_products("dense") == [f"tensor<8x64x{WIDTH}xf64>, tensor<8x{WIDTH}x{2 * INNER}xf64>"]
    for how in ("auto", "tiled"):
        assert first_products(how) == [f"tensor<{tile_height(64, 8)}x{WIDTH}xf64>, tensor<{WIDTH}x{2 * INNER}xf64>"]


def test_an_accelerator_gets_ragged_products_from_the_same_constructor():
    hidden = jnp.ones((1, 8, WIDTH))
    for platform, ragged in (("cpu", False), ("tpu", True)):
        traced = jax.jit(lambda x: mixture("auto")(x)[0]).trace(hidden)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("ragged_dot" in text) == ragged, platform
        assert ("stablehlo.while" in text) != ragged, platform


@pytest.mark.parametrize(("dtype", "asked"), [("bfloat16", False), ("float16", True), ("float32", True)])
def test_ragged_products_ask_for_no_precision_only_where_all_are_exact(dtype, asked):
    rows, kernels, sizes = jnp.ones((8, WIDTH), dtype), jnp.ones((2, WIDTH, INNER), dtype), jnp.array([3, 5], jnp.int32)
    product = jax.make_jaxpr(lambda *given: grouped_dot(*given, "ragged", lax.Precision.HIGHEST))
    outer = jax.make_jaxpr(lambda *given: grouped_outer(*given, "ragged", lax.Precision.HIGHEST))
    for text in (str(product(rows, kernels, sizes)), str(outer(rows, jnp.ones((8, INNER), dtype), sizes))):
        assert "ragged_dot" in text
        assert ("HIGHEST" in text) == asked


@pytest.mark.parametrize("scan_layers", [False, True])
def test_the_whole_model_is_the_same_under_every_dispatch(scan_layers):
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 32, (2, 9)))

    def logits(how):
        options = {"numerics": FLOAT64, "scan_layers": scan_layers, "moe_dispatch": how}
        return jax.jit(Llama4ForCausalLM(config(), rngs=nnx.Rngs(0), **options))(ids).logits

    dense = logits("dense")
    for how in SPARSE:
        assert drift(logits(how), dense) <= limit("model", "f64", terms=2)


@pytest.mark.parametrize(
    ("rules", "ways", "expected"),
    [
        ("expert", 2, "dense"),
        ("data", 2, "dense"),
        ("sequence", 2, "dense"),
        ("tensor", 2, "auto"),
        ("expert", 1, "auto"),
    ],
)
def test_a_mesh_that_splits_tokens_or_experts_gets_the_dense_form_unless_told_otherwise(rules, ways, expected):
    placement = Placement(AbstractMesh((ways,), (rules,)), RULES[rules])
    assert dispatch_under("auto", placement) == expected
    assert [dispatch_under(word, placement) for word in ("dense", "tiled", "ragged")] == ["dense", "tiled", "ragged"]


def test_a_dispatch_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="moe_dispatch: expected one of auto, dense, tiled, ragged, got 'sparse'"):
        check_dispatch("sparse")
