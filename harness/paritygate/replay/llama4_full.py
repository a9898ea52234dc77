"""`jax_llama4` in full size as a program of shapes alone: nothing is drawn, allocated or run."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Rules, param_shardings, use_mesh
from jax_llama4.checkpoint import abstract_model
from jax_llama4.dispatch import check_dispatch, dispatch_under
from jax_llama4.sharding import Placement, ShardingError
from paritygate.catalog.meshes import layout
from paritygate.core.cell import DtypePolicy
from paritygate.core.compilation import Order
from paritygate.core.errors import UsageError
from paritygate.replay.compiling import Abstract
from paritygate.replay.llama4 import numerics_of


def abstract(config: Mapping[str, Any], policy: DtypePolicy, order: Order, devices: Sequence[Any]) -> Abstract:
    """One pass of the text model, layers scanned, as serving or training would run it; no optimiser.

    `prefill` fills a cache of its length and gives the logits of each row's last token; `decode` adds one token to a
    cache, which is given back in the room of the old one. `train` is the loss and its gradient by every weight, layers
    computed again in the backward pass. Raises UsageError where the mesh does not divide the model.
    """
    axes = order.axes or (("dp", 1),)
    sizes = [size for _, size in axes]
    # An axis may be part of a ring of the hardware: 16 x 4 on 8 x 8 chips.
    placed_devices = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    mesh = Mesh(placed_devices, [kind for kind, _ in axes], axis_types=(AxisType.Auto,) * len(axes))
    rules = Rules.of(**layout(axes).rules)
    placement = Placement(mesh, rules)
    try:
        asked = check_dispatch(order.dispatch)
    except ValueError as reason:
        raise UsageError("unknown dispatch", where=order.dispatch, got=str(reason)) from reason
    options: dict[str, Any] = {"scan_layers": True, "moe_dispatch": asked}
    if order.mode == "train":
        options["remat_policy"] = "nothing_saveable"
    model_config = Llama4TextConfig.from_dict(dict(config))
    try:
        placed = param_shardings(model_config, mesh, rules, Llama4ForCausalLM, **options)
    except ShardingError as reason:
        raise UsageError("mesh does not divide the model", where=order.mesh, got=str(reason)) from reason
    model = abstract_model(Llama4ForCausalLM, model_config, numerics_of(policy), **options)

    def on_mesh(x: Any, *logical: str | None) -> jax.ShapeDtypeStruct:
        spec = rules.spec(logical)
        entries = [placement.dividing(entry, size) for size, entry in zip(x.shape, spec, strict=True)]
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, PartitionSpec(*entries)))

    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)
    weights = nnx.from_flat_state(
        (path, variable.replace(jax.ShapeDtypeStruct(variable.shape, variable.dtype, sharding=placed[_dotted(path)])))
        for path, variable in nnx.to_flat_state(weights)
    )
    rest = jax.tree.map(lambda x: on_mesh(x, *(None,) * x.ndim), rest)
    width = 1 if order.mode == "decode" else order.length
    tokens = on_mesh(jax.ShapeDtypeStruct((order.batch, width), jnp.int32), "batch", "length")
    within, notes = use_mesh(mesh, rules), _notes(dispatch_under(asked, placement), model_config)

    if order.mode == "train":

        def train(weights: Any, rest: Any, tokens: Any) -> Any:
            return jax.value_and_grad(
                lambda weights: nnx.merge(graphdef, weights, rest)(tokens, labels=tokens).loss
            )(weights)  # fmt: skip

        shardings = (NamedSharding(mesh, PartitionSpec()), jax.tree.map(lambda x: x.sharding, weights))
        notes = (*notes, "no optimiser: its state and its update come on top")
        return Abstract(train, (weights, rest, tokens), within, mesh, (), shardings, notes)

    def placed_cache(x: Any) -> jax.ShapeDtypeStruct:
        if x.ndim < 4:
            return on_mesh(x, "batch", *(None,) * (x.ndim - 1))
        return on_mesh(x, *(None,) * (x.ndim - 4), "batch", "length", "kv_heads", "head_dim")

    cache = jax.tree.map(placed_cache, nnx.eval_shape(lambda: model.init_cache(order.batch, order.length)))

    def serve(weights: Any, rest: Any, tokens: Any, cache: Any) -> Any:
        out = nnx.merge(graphdef, weights, rest)(tokens, past_key_values=cache, logits_to_keep=1)
        return out.logits, out.past_key_values

    logits = jax.ShapeDtypeStruct((order.batch, 1, model_config.vocab_size), jnp.float32)
    shardings = (on_mesh(logits, "batch", "length", "vocab").sharding, jax.tree.map(lambda x: x.sharding, cache))
    return Abstract(serve, (weights, rest, tokens, cache), within, mesh, (3,), shardings, notes)


def _notes(how: str, config: Llama4TextConfig) -> tuple[str, ...]:
    if how != "dense" or not config.moe_layers:
        return (f"experts: dispatch {how}; the work of the products shows which of them the compiler multiplies",)
    more = config.num_local_experts // config.num_experts_per_tok
    return (f"experts: dense, every expert multiplies every token, {more} x the work that routing asks for",)


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))
