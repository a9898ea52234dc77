"""Sharding: rules from logical axes to mesh axes, what `shard` does with them, and every rule set on eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from impl_cases import CONFIGS, draw_weights
from jax.sharding import AbstractMesh, AxisType, PartitionSpec
from mesh_run import (
    CONFIG,
    EXPLICIT,
    EXPLICIT_GRADIENTS,
    EXPLICIT_VISION,
    MULTIMODAL,
    RULE_SETS,
    STACKED,
    WITH_VISION,
    WITH_VISION_BY_PATCHES,
    WITH_VISION_STACKED,
)

from jax_llama4 import (
    Llama4Config,
    Llama4ForCausalLM,
    Llama4TextConfig,
    Numerics,
    Rules,
    ShardingError,
    combine,
    make_mesh,
    param_shardings,
    shard,
    shard_model,
    use_mesh,
)
from jax_llama4.checkpoint import abstract_model, parameters
from jax_llama4.dispatch import dispatch_under
from jax_llama4.paged import RaggedPagesCache
from jax_llama4.sharding import RULES, active_placement, beside, kept

from limits import limit

SCOUT = Llama4TextConfig()
FULL = combine("fsdp", "tensor", "expert")


def abstract_mesh(**axes: int) -> AbstractMesh:
    return AbstractMesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def test_a_mesh_axis_splits_the_first_dimension_that_asks_for_it():
    assert FULL.spec(("batch", "length", "embed")) == PartitionSpec(("fsdp", "expert"), None, None)
    assert FULL.spec(("embed", "mlp")) == PartitionSpec("fsdp", "tensor")
    assert FULL.spec(("expert", "batch", "embed")) == PartitionSpec("expert", "fsdp", None)
    assert FULL.spec((None, "layer")) == PartitionSpec(None, None)


def test_combined_sets_split_a_shared_axis_over_both_and_an_axis_can_be_replicated():
    assert combine("data", "fsdp").mesh_axes("batch") == ("data", "fsdp")
    assert combine("data", "data") == RULES["data"]
    assert combine("single") == RULES["single"] == Rules()
    assert FULL.replace(kv_heads=None).mesh_axes("kv_heads") == ()
    assert FULL.replace(kv_heads=None).mesh_axes("heads") == ("tensor",)
    assert hash(combine("fsdp")) == hash(RULES["fsdp"])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Rules.of(embd="fsdp"), "embd: no such logical axis, expected embed"),
        (lambda: combine("tenser"), "tenser: no such rule set, expected tensor"),
        (lambda: FULL.spec(("batch", "lenght")), "lenght: no such logical axis, expected length"),
        (lambda: shard(jnp.ones(3), "lenght"), "lenght: no such logical axis, expected length"),
        (
            lambda: param_shardings(SCOUT, abstract_mesh(data=2, tensor=2), "fsdp"),
            "batch → fsdp: the mesh has no such axis, only data, tensor\n"
            "  embed → fsdp: the mesh has no such axis, only data, tensor",
        ),
        (lambda: use_mesh(make_mesh((1,), ("data",))).__enter__(), "a mesh {'data': 1} is given, but no rules"),
        (lambda: use_mesh(None, "data").__enter__(), "rules are given, but no mesh for them"),
    ],
)
def test_wrong_names_are_named_with_the_near_ones(act, message):
    with pytest.raises(ShardingError) as caught:
        act()
    assert str(caught.value).startswith(f"sharding does not fit:\n  {message}")


def test_without_a_mesh_shard_gives_its_argument_back_but_counts_dimensions():
    x = jnp.ones((2, 3))
    assert shard(x, "batch", None) is x
    with pytest.raises(ValueError, match=r"shard: expected one logical axis a dimension of \(2, 3\), got \('batch',\)"):
        shard(x, "batch")


def test_a_function_traced_without_a_mesh_is_traced_again_under_one():
    traced = []

    @jax.jit
    def run(x):
        traced.append(x)
        return shard(x, "batch")

    x, mesh = jnp.ones(4), make_mesh((1,), ("data",))
    plain = run(x)
    with use_mesh(mesh, "data"):
        assert run(x).sharding.mesh == mesh
        with use_mesh(None):
            assert run(x).sharding == plain.sharding
        run(x)
    run(x)
    assert len(traced) == 2
    assert mesh.axis_types == (AxisType.Auto,)


def test_under_explicit_axes_a_value_has_its_sharding_in_its_type():
    mesh, rules = make_mesh((1, 1), ("fsdp", "tensor"), axis_types="explicit"), combine("fsdp", "tensor")
    assert set(mesh.axis_types) == {AxisType.Explicit}
    with use_mesh(mesh, rules) as placement:
        assert placement is not None

        def put(shape, *axes):
            return jax.device_put(jnp.ones(shape), placement.sharding(axes))

        x, kernel, weight = put((4, 3, 8), "batch", None, "embed"), put((8, 6), "embed", "mlp"), put((8,), "embed")
        product = jax.jit(lambda x, y: jnp.einsum("bti,ij->btj", x, y, out_sharding=kept("bti,ij->btj", x, y)))
        assert jax.typeof(product(x, kernel)).sharding.spec == PartitionSpec("fsdp", None, "tensor")
        assert jax.typeof(jax.jit(lambda x: shard(x, None, None, "mlp"))(x)).sharding.spec[2] == "tensor"
        assert jax.typeof(jax.jit(lambda x, w: x * beside(w, x))(x, weight)).sharding.spec[0] == "fsdp"
        with pytest.raises(Exception, match="illegally sharded"):
            x * weight  # both split along fsdp: a batch and a width


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: make_mesh((1,), ("data",), axis_types="manual"),
            "axis_types 'manual': expected one of auto, explicit",
        ),
        (
            lambda: use_mesh(
                jax.make_mesh((1, 1), ("data", "tensor"), axis_types=(AxisType.Auto, AxisType.Explicit)), "data"
            ).__enter__(),
            "axes of several types (data Auto, tensor Explicit): expected all Auto or all Explicit, as of make_mesh",
        ),
        (
            lambda: explicitly(lambda: RaggedPagesCache.init_cache(SCOUT, 4, 2, dtype="float32")),
            "paged caches take Auto axes, the mesh has Explicit ones; use init_cache, or "
            "make_mesh(..., axis_types='auto')",
        ),
        (
            lambda: explicitly(lambda: dispatch_under("ragged", active_placement())),
            "ragged products of experts take Auto axes, the mesh has Explicit ones; say moe_dispatch='dense', or "
            "make_mesh(..., axis_types='auto')",
        ),
    ],
)
def test_what_explicit_axes_do_not_do_is_said(act, message):
    with pytest.raises(ShardingError) as caught:
        act()
    assert str(caught.value) == f"sharding does not fit:\n  {message}"


def explicitly(act):
    with use_mesh(make_mesh((1,), ("data",), axis_types="explicit"), "data"):
        return act()


def test_published_models_split_over_a_pod_without_a_device():
    maverick = Llama4TextConfig(num_local_experts=128, interleave_moe_layer_step=2, use_qk_norm=False)
    placed = param_shardings(maverick, abstract_mesh(fsdp=4, tensor=8, expert=16), FULL, scan_layers=True)
    experts = placed["model.layers.1.feed_forward.experts.gate_up_proj"]
    assert experts.spec == PartitionSpec(None, "expert", "fsdp", "tensor")
    assert experts.shard_shape((12, 128, 5120, 2 * 8192)) == (12, 8, 1280, 2048)
    assert placed["model.layers.0.self_attn.k_proj.kernel"].spec == PartitionSpec(None, "fsdp", "tensor")


def test_what_does_not_divide_is_refused_all_at_once_or_replicated_on_request():
    # 40 query heads, 8 kv heads: dimensions of 5120 and 1024, which 16 would divide, but not into whole heads.
    mesh = abstract_mesh(tensor=16)
    config = Llama4TextConfig(num_hidden_layers=1, vocab_size=202049)
    with pytest.raises(ShardingError) as caught:
        param_shardings(config, mesh, "tensor")
    parameter, rest = caught.value.problems[0].split(": ")
    assert parameter == "lm_head.kernel"
    assert rest == (
        "dimension 1 has 202049 vocab, which 16 devices along tensor do not divide; "
        "rules.replace(vocab=None) replicates it"
    )
    found = {(line.split(":")[0].split(".", 1)[1], line.split()[4]) for line in caught.value.problems[1:]}
    attention = "layers.0.self_attn."
    assert found == {("embed_tokens.embedding", "202049")} | {
        (f"{attention}{name}_proj.kernel", count) for name, count in dict(q="40", o="40", k="8", v="8").items()
    }
    rules = RULES["tensor"].replace(vocab=None, heads=None, kv_heads=None)
    placed = param_shardings(config, mesh, rules)
    assert placed["model.layers.0.self_attn.q_proj.kernel"].spec == PartitionSpec(None, None)
    assert placed["model.layers.0.feed_forward.experts.down_proj"].spec == PartitionSpec(None, "tensor", None)


def test_a_model_is_moved_onto_a_mesh_in_place():
    config = Llama4TextConfig.from_dict(CONFIGS["unusual"])
    numerics = Numerics.like_hf("float32")
    wanted = parameters(abstract_model(Llama4ForCausalLM, config, numerics))
    state = draw_weights({name: parameter.stored_shape for name, parameter in wanted.items()})
    model = Llama4ForCausalLM.from_state_dict(config, state, numerics=numerics)
    before = np.asarray(model.lm_head.embedding[...])
    mesh = make_mesh((1,), ("tensor",))
    shard_model(model, mesh, "tensor")
    assert model.lm_head.embedding is model.model.embed_tokens.embedding
    assert model.lm_head.embedding[...].sharding.spec == PartitionSpec("tensor", None)
    np.testing.assert_array_equal(model.lm_head.embedding[...], before)


@pytest.fixture(scope="module")
def mesh_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mesh")
    # Level 2 leaves errors: XLA's partitioner explains at length where it replicates an activation on the way.
    quick = "--xla_cpu_use_fusion_emitters=false"
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {quick}", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, str(Path(__file__).parent / "mesh_run.py"), str(folder)]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


VISION_RUNS = [WITH_VISION, WITH_VISION_STACKED, WITH_VISION_BY_PATCHES, EXPLICIT_VISION]


@pytest.mark.parametrize("name", [*RULE_SETS, STACKED, *VISION_RUNS, EXPLICIT, EXPLICIT_GRADIENTS])
def test_every_rule_set_gives_the_numbers_of_one_device(name, mesh_runs):
    vision = name in VISION_RUNS
    alone = "one device" + " with vision" * vision + " gradients" * (name == EXPLICIT_GRADIENTS)
    layers = CONFIG.num_hidden_layers + vision * MULTIMODAL.vision_config.num_hidden_layers
    with np.load(mesh_runs / f"{alone}.npz") as expected, np.load(mesh_runs / f"{name}.npz") as found:
        assert set(found) == set(expected) - (set() if vision or name not in RULES else {"prefill", "decode"})
        for key in found:
            scale = np.sqrt(np.mean(np.square(expected[key])))
            np.testing.assert_allclose(
                found[key], expected[key], rtol=0, atol=limit("model", "f64", layers) * scale, err_msg=key
            )


def test_explicit_axes_are_in_the_types_as_the_rules_say(mesh_runs):
    def types(name):
        return json.loads((mesh_runs / f"{name}.types.json").read_text())

    sequence, tokens = combine("data", "tensor", "sequence"), ("batch", "length", "vocab")
    assert types(EXPLICIT) == {
        "forward": str(sequence.spec(tokens)),
        "prefill": str(sequence.replace(length=None).spec(tokens)),  # 13 tokens, which 2 devices do not divide
        "decode": str(sequence.replace(length=None).spec(tokens)),
    }
    image = str(FULL.spec(("batch", "length", "embed")))
    assert types(EXPLICIT_VISION) == {"forward": str(FULL.spec(tokens)), "features": image}
    gradients = types(EXPLICIT_GRADIENTS)
    assert gradients["loss"] == str(PartitionSpec())
    experts = "['model']['layers'][1]['feed_forward']['experts']['gate_up_proj'].value"
    assert gradients[experts] == str(FULL.spec(("expert", "embed", "expert_mlp")))
    assert gradients["['model']['embed_tokens']['embedding'].value"] == str(FULL.spec(("vocab", "embed")))


def test_a_sum_over_devices_is_rounded_once(mesh_runs):
    with np.load(mesh_runs / "whole sums.npz") as expected, np.load(mesh_runs / "split sums.npz") as found:
        assert len(found) == len(expected) == 5
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
            assert found[name].any() and (name == "scores" or (found[name] == 1).all())


def require_split(file: Path, rules: Rules, axes_of: dict[str, tuple[str, ...]]) -> None:
    placed = json.loads(file.read_text())
    assert all(facts["devices"] == 8 and len(facts["blocks"]) == 1 for facts in placed.values())
    for path, axes in axes_of.items():
        halvings = sum(bool(rules.mesh_axes(axis)) for axis in axes)
        assert np.prod(placed[path]["shape"]) == np.prod(placed[path]["blocks"][0]) * 2**halvings, path


@pytest.mark.parametrize("name", RULE_SETS)
def test_parameters_are_really_split(name, mesh_runs):
    axes = {
        "model.embed_tokens.embedding": ("vocab", "embed"),
        "model.layers.0.self_attn.q_proj.kernel": ("embed", "heads"),
        "model.layers.0.self_attn.k_proj.kernel": ("embed", "kv_heads"),
        "model.layers.0.feed_forward.down_proj.kernel": ("mlp", "embed"),
        "model.layers.1.feed_forward.router.kernel": ("embed",),
        "model.layers.1.feed_forward.experts.gate_up_proj": ("expert", "embed", "expert_mlp"),
    }
    require_split(mesh_runs / f"{name}.json", combine(*RULE_SETS[name]), axes)


@pytest.mark.parametrize("name", [WITH_VISION, WITH_VISION_STACKED])
def test_parameters_of_the_vision_tower_are_really_split(name, mesh_runs):
    layer, adapter = "vision_model.model.layers.0.", "vision_model.vision_adapter.mlp."
    axes = {
        "vision_model.patch_embedding.linear.kernel": ("embed",),
        "vision_model.class_embedding": ("embed",),
        "vision_model.positional_embedding_vlm": ("embed",),
        "vision_model.layernorm_pre.bias": ("embed",),
        f"{layer}self_attn.q_proj.kernel": ("embed", "heads"),
        f"{layer}self_attn.v_proj.bias": ("heads",),
        f"{layer}self_attn.o_proj.kernel": ("heads", "embed"),
        f"{layer}mlp.fc1.kernel": ("embed", "mlp"),
        f"{layer}mlp.fc1.bias": ("mlp",),
        f"{layer}mlp.fc2.kernel": ("mlp", "embed"),
        f"{adapter}fc1.kernel": ("embed", "mlp"),
        f"{adapter}fc2.kernel": ("mlp", "embed"),
        "multi_modal_projector.linear_1.kernel": ("embed",),
        "language_model.model.layers.0.self_attn.k_proj.kernel": ("embed", "kv_heads"),
    }
    require_split(mesh_runs / f"{name}.json", FULL, axes)


@pytest.mark.parametrize(("text", "vision", "part", "odd"), [(4, 3, "vision_model.", 3), (6, 4, "language_model.", 6)])
def test_heads_are_those_of_their_own_half(text, vision, part, odd):
    # Widths are multiples of 16 all the same.
    data = MULTIMODAL.to_dict()
    data["text_config"] |= {"num_attention_heads": text, "num_key_value_heads": text, "head_dim": 16}
    data["vision_config"] |= {"hidden_size": 16 * vision, "intermediate_size": 64 * vision}
    data["vision_config"] |= {"num_attention_heads": vision}
    with pytest.raises(ShardingError) as caught:
        param_shardings(Llama4Config.from_dict(data), abstract_mesh(tensor=4), "tensor")
    heads = [line for line in caught.value.problems if "heads, which" in line]
    assert len(heads) == len(caught.value.problems) > 0
    assert all(line.startswith(part) and f" has {odd} " in line for line in heads)
