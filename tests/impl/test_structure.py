"""Structure: one graph definition per kind of layer, full-size layers at no cost, nothing that cannot be jitted."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, PROMPT

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Llama4TextDecoderLayer, Numerics

from limits import limit

BFLOAT16 = Numerics.like_hf("bfloat16")
FLOAT64 = Numerics.like_hf("float64")
IDS = jnp.asarray(PROMPT.input_ids)


def parameters(module) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def abstract_layer(config: Llama4TextConfig, layer_idx: int) -> Llama4TextDecoderLayer:
    return nnx.eval_shape(
        lambda: Llama4TextDecoderLayer(config, layer_idx, numerics=BFLOAT16, rngs=nnx.Rngs(layer_idx))
    )


def test_layers_of_one_kind_have_equal_graph_definitions_and_others_do_not():
    config = Llama4TextConfig(num_hidden_layers=8, interleave_moe_layer_step=2)
    kinds = [(config.no_rope_layers[i], i in config.moe_layers) for i in range(8)]
    graphs = [nnx.split(abstract_layer(config, i))[0] for i in range(8)]
    for kind, graph in zip(kinds, graphs, strict=True):
        for other_kind, other_graph in zip(kinds, graphs, strict=True):
            assert (graph == other_graph) == (kind == other_kind)
            assert (hash(graph) == hash(other_graph)) == (kind == other_kind)


def test_a_program_compiled_for_one_layer_serves_all_of_its_kind():
    config = Llama4TextConfig.from_dict(CONFIGS["scout"])
    traced = []

    @nnx.jit
    def run(layer, hidden_states, mask, frequencies, query_slots):
        traced.append(layer)
        return layer(hidden_states, mask, frequencies=frequencies, query_slots=query_slots)

    arguments = (
        jnp.ones((1, 3, config.hidden_size), dtype=BFLOAT16.compute),
        jnp.tril(jnp.ones((1, 3, 3), dtype=bool)),
        jnp.ones((1, 3, config.head_dim // 2, 2), dtype=BFLOAT16.rope),
        jnp.arange(3),
    )
    for layer_idx in (0, 1, 2):
        run(Llama4TextDecoderLayer(config, layer_idx, numerics=BFLOAT16, rngs=nnx.Rngs(layer_idx)), *arguments)
    assert len(traced) == 1


def test_published_sizes_come_out_without_allocating_them():
    scout = Llama4TextConfig()
    maverick = Llama4TextConfig(num_local_experts=128, interleave_moe_layer_step=2, use_qk_norm=False)
    sizes = ((scout, 0, 2_202_101_760), (maverick, 0, 314_583_040), (maverick, 1, 16_295_536_640))
    for config, layer_idx, size in sizes:
        layer = abstract_layer(config, layer_idx)
        assert parameters(layer) == size
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(layer)))


def test_a_scout_sized_layer_runs_abstractly():
    config = Llama4TextConfig()
    struct = jax.ShapeDtypeStruct
    out = nnx.eval_shape(
        lambda layer, x, mask, turns, slots: layer(x, mask, frequencies=turns, query_slots=slots).hidden_states,
        abstract_layer(config, 0),
        struct((2, 16384, 5120), BFLOAT16.compute),
        struct((2, 16384, 16384), bool),
        struct((2, 16384, 64, 2), BFLOAT16.rope),
        struct((16384,), int),
    )
    assert (out.shape, out.dtype) == ((2, 16384, 5120), BFLOAT16.compute)


def loaded(case: str, hf_runs, numerics: Numerics) -> Llama4ForCausalLM:
    config = Llama4TextConfig.from_dict(CONFIGS[case])
    return Llama4ForCausalLM.from_state_dict(config, hf_runs[case].weights, numerics=numerics)


def test_jit_changes_rounding_only(hf_runs):
    model = loaded("maverick", hf_runs, FLOAT64)
    eager, jitted = model(IDS).logits, nnx.jit(lambda model, ids: model(ids).logits)(model, IDS)
    drift = np.linalg.norm(eager - jitted) / np.linalg.norm(eager)
    assert drift <= limit("model", "f64", model.config.num_hidden_layers)


@pytest.mark.parametrize("role", ["norm", "rope", "softmax", "activation", "router", "temperature"])
def test_every_role_is_read_and_changes_no_dtype_but_its_own(role, hf_runs):
    coarse = dataclasses.replace(FLOAT64, **{role: "bfloat16"})
    fine_logits = loaded("scout", hf_runs, FLOAT64)(IDS).logits
    coarse_logits = loaded("scout", hf_runs, coarse)(IDS).logits
    assert coarse_logits.dtype == fine_logits.dtype == FLOAT64.compute
    assert (np.asarray(coarse_logits) != np.asarray(fine_logits)).any()
