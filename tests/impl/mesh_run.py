"""Child process with eight devices: a small model under every rule set, one with vision under two combinations.

Writes NAME.npz and NAME.json for each, NAME.types.json where axes are Explicit, with the sharding in each type, and of
products whose sums are split: split sums.npz, whole sums.npz.

Usage: python mesh_run.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import impl_cases
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_llama4 import (
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4TextConfig,
    Llama4VisionConfig,
    Numerics,
    combine,
    make_mesh,
    use_mesh,
)
from jax_llama4.attention import attention_weights, weighted_values
from jax_llama4.checkpoint import parameters
from jax_llama4.linear import dot_general
from jax_llama4.moe import Llama4Router, bmm
from jax_llama4.sharding import RULES

# Two layers of all kinds: rope and dense, no rope and a mixture; all that a rule splits is even.
CONFIG = Llama4TextConfig.from_dict(
    impl_cases.CONFIGS["scout"]
    | {
        "num_hidden_layers": 2,
        "no_rope_layer_interval": 2,
        "interleave_moe_layer_step": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "vocab_size": 64,
    }
)
# Heads of 4 whose sum is not the width; an image token for each of 2 x 2 blocks of patches.
VISION = Llama4VisionConfig(
    hidden_size=28,
    intermediate_size=4 * 28,
    num_hidden_layers=2,
    num_attention_heads=6,
    image_size=16,
    patch_size=4,
    projector_input_dim=20,
    projector_output_dim=20,
    vision_output_dim=20,
)
MULTIMODAL = Llama4Config(text_config=CONFIG, vision_config=VISION, image_token_index=CONFIG.vocab_size - 1)
RULE_SETS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("single", "data", "fsdp", "tensor", "expert", "sequence")},
    "data+tensor+sequence": ("data", "tensor", "sequence"),
    "fsdp+tensor+expert": ("fsdp", "tensor", "expert"),
}
STACKED = "fsdp+tensor+expert stacked"
WITH_VISION = "fsdp+tensor+expert with vision"
WITH_VISION_STACKED = WITH_VISION + ", stacked"
WITH_VISION_BY_PATCHES = "data+tensor+sequence with vision"  # an odd number of patches, the class token among them
# The same layouts with Explicit axes: caches under one, gradients and vision under the other.
EXPLICIT = "data+tensor+sequence, explicit"
EXPLICIT_GRADIENTS = "fsdp+tensor+expert gradients, explicit"
EXPLICIT_VISION = "fsdp+tensor+expert with vision, explicit"
NUMERICS = Numerics.uniform("float64")
BATCH, LENGTH = 4, 14  # one chunk of 8 and the most of a second


def mesh_axes(names: tuple[str, ...]) -> tuple[str, ...]:
    """Three axes of which the first are those that the rule sets use."""
    used = [name for name in names if name != "single"]
    return tuple([*used, *(name for name in ("data", "fsdp", "tensor") if name not in used)][:3])


def without_cache(graph: Any, state: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    return {"forward": nnx.merge(graph, state)(ids, mask).logits}


def with_cache(graph: Any, state: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """As `without_cache`; then the logits of the last token after a cache was filled with those before it."""
    model = nnx.merge(graph, state)
    prefilled = model(ids[:, :-1], mask[:, :-1], past_key_values=model.init_cache(BATCH, LENGTH))
    decoded = model(ids[:, -1:], past_key_values=prefilled.past_key_values)
    found = {"prefill": prefilled.logits, "decode": decoded.logits}
    return found | without_cache(graph, state, ids, mask)


def with_gradients(graph: Any, state: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """The loss and its gradient by every weight."""
    labels = jnp.where(mask == 1, ids, -100)
    loss, gradients = jax.value_and_grad(lambda state: nnx.merge(graph, state)(ids, mask, labels=labels).loss)(state)
    by_path = jax.tree_util.tree_leaves_with_path(gradients)
    return {"loss": loss} | {jax.tree_util.keystr(path): value for path, value in by_path}


def with_vision(graph: Any, state: Any, ids: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Logits where every row has one tile, and the tile's features."""
    config = MULTIMODAL.vision_config
    tile = (config.num_channels, config.image_size, config.image_size)
    pixels = jnp.asarray(np.random.default_rng(4).standard_normal((BATCH, *tile)))
    ids = jnp.minimum(ids, MULTIMODAL.image_token_index - 1)
    ids = ids.at[:, 5 : 5 + config.tokens_per_tile].set(MULTIMODAL.image_token_index)
    out = nnx.merge(graph, state)(ids, pixels, mask)
    return {"forward": out.logits, "features": out.image_hidden_states}


def sums(mesh: Mesh | None) -> dict[str, np.ndarray]:
    """Products of 16 bits that sum four terms, their operands split along the sum where there is a mesh.

    The first two terms add to 257, a bit more than bfloat16 keeps; the others take 256 away again.
    """
    numerics, across = Numerics.like_hf("bfloat16"), (((1,), (0,)), ((), ()))
    terms, ones = jnp.array([256, 1, -256, 0], jnp.bfloat16), jnp.ones(4, jnp.bfloat16)
    graph, _ = nnx.split(Llama4Router(CONFIG, numerics=numerics, rngs=nnx.Rngs(0)))

    def routed(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return nnx.merge(graph, nnx.State({"kernel": nnx.Param(kernel)}))(x)[1]

    # Each with the shapes of both operands and the axis of each that is summed over.
    products = {
        "weighted values": (lambda x, y: weighted_values(x, y, numerics), (1, 1, 1, 4), 3, (1, 4, 1, 1), 1),
        "scores": (lambda x, y: attention_weights(x, y, 1.0, numerics), (1, 1, 1, 4), 3, (1, 2, 1, 4), 3),
        "router": (routed, (2, 4), 1, (4, CONFIG.num_local_experts), 0),
        "experts": (lambda x, y: bmm(x, y, None), (1, 2, 4), 2, (1, 4, 1), 1),
        "linear": (lambda x, y: dot_general(x, y, across), (2, 4), 1, (4, 1), 0),
    }
    found = {}
    for name, (product, *sides) in products.items():
        operands = []
        for values, shape, axis in ((ones, *sides[:2]), (terms, *sides[2:])):
            along = [4 if at == axis else 1 for at in range(len(shape))]
            operand = jnp.broadcast_to(values.reshape(along), shape)
            if name == "scores" and values is terms:
                operand = operand.at[:, 1].set(0)  # a second key, whose score is another
            spec = PartitionSpec(*("split" if at == axis else None for at in range(len(shape))))
            operands.append(operand if mesh is None else jax.device_put(operand, NamedSharding(mesh, spec)))
        found[name] = np.asarray(jax.jit(product)(*operands).astype(jnp.float32))
    return found


def weights(model_class: Any, config: Any) -> dict[str, np.ndarray]:
    abstract = nnx.eval_shape(lambda: model_class(config, numerics=NUMERICS, rngs=nnx.Rngs(0)))
    shapes = {name: parameter.stored_shape for name, parameter in parameters(abstract).items()}
    return impl_cases.draw_weights(shapes)


def main(folder: Path) -> None:
    ids = jnp.asarray(np.random.default_rng(3).integers(1, CONFIG.vocab_size, (BATCH, LENGTH)))
    mask = jnp.ones_like(ids).at[1, :3].set(0)
    all_sets = RULE_SETS[STACKED.split()[0]]
    text, multimodal = (Llama4ForCausalLM, CONFIG), (Llama4ForConditionalGeneration, MULTIMODAL)
    models = {kind: (*kind, weights(*kind)) for kind in (text, multimodal)}
    runs = {name: (text, sets) for name, sets in {"one device": ("single",), **RULE_SETS, STACKED: all_sets}.items()}
    runs |= {"one device with vision": (multimodal, ("single",))}
    runs |= {name: (multimodal, all_sets) for name in (WITH_VISION, WITH_VISION_STACKED)}
    runs |= {WITH_VISION_BY_PATCHES: (multimodal, RULE_SETS["data+tensor+sequence"])}
    runs |= {"one device gradients": (text, ("single",)), EXPLICIT_GRADIENTS: (text, all_sets)}
    runs |= {EXPLICIT: (text, RULE_SETS["data+tensor+sequence"]), EXPLICIT_VISION: (multimodal, all_sets)}
    np.savez(folder / "whole sums.npz", **sums(None))
    np.savez(folder / "split sums.npz", **sums(make_mesh((2,), ("split",), devices=jax.devices()[:2])))
    for name, (kind, sets) in runs.items():
        model_class, config, state = models[kind]
        alone = name.startswith("one device")
        explicit = name.endswith("explicit")
        mesh = rules = None
        if not alone:
            types = "explicit" if explicit else "auto"
            mesh, rules = make_mesh((2, 2, 2), mesh_axes(sets), axis_types=types), combine(*sets)
        model = model_class.from_state_dict(
            config, state, numerics=NUMERICS, mesh=mesh, rules=rules, scan_layers=name.endswith("stacked")
        )
        graph, params = nnx.split(model)
        # The combined sets hold every set once, so the cache is tried under each of them, and compiled less often.
        run = with_vision if kind is multimodal else without_cache if name in RULES else with_cache
        if "gradients" in name:
            run = with_gradients
        with use_mesh(mesh, rules):
            found = jax.jit(run, static_argnums=0)(graph, params, ids, mask)
        np.savez(folder / f"{name}.npz", **{key: np.asarray(value) for key, value in found.items()})
        if explicit:
            types = {key: str(jax.typeof(value).sharding.spec) for key, value in found.items()}
            (folder / f"{name}.types.json").write_text(json.dumps(types))
        on = {
            parameter.own_path: {
                "shape": parameter.variable.shape,
                "blocks": sorted({block.data.shape for block in parameter.variable[...].addressable_shards}),
                "devices": len(parameter.variable[...].devices()),
            }
            for parameter in parameters(model).values()
        }
        (folder / f"{name}.json").write_text(json.dumps(on))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    main(Path(sys.argv[1]))
