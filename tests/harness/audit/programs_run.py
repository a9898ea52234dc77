"""Child process with eight devices: summaries of small programs as JSON lines, some of them with a planted fault."""

import json

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from paritygate.audit.programs import summary_of
from paritygate.core.codec import to_json

MESH = {"fsdp": 2, "tp": 4}
LAYERS, WIDTH, INNER, BATCH, EXPERTS = 3, 64, 128, 8, 8
mesh = jax.make_mesh(tuple(MESH.values()), tuple(MESH), axis_types=(AxisType.Auto,) * 2)


def placed(*axes) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))


def constrained(x, *axes):
    return jax.lax.with_sharding_constraint(x, placed(*axes))


def given(shape, *axes, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=placed(*axes))


def feed_forward(x, layer):
    inner = constrained(jax.nn.relu(x @ layer["up"]), "fsdp", "tp")
    return constrained(inner @ layer["down"], "fsdp", None)


def unrolled(weights, x):
    return feed_forward(x, {name: each[0] for name, each in weights.items()})


def scanned(weights, x):
    return jax.lax.scan(lambda x, layer: (feed_forward(x, layer), None), x, weights)[0]


def gathering(weights, x):
    up = jax.lax.with_sharding_constraint(weights["up"], placed())  # planted: every device holds all of it
    weights = weights | {"up": up}
    return unrolled(weights, x)


def experts(weights, x):
    return jnp.einsum("bd,edf->bef", x, constrained(weights["experts"], "tp", None, None))


def whole_experts(weights, x):
    whole = jax.lax.with_sharding_constraint(weights["experts"], placed())  # planted: no device has a part of its own
    return jnp.einsum("bd,edf->bef", x, whole)


def permuted(weights, x):
    return constrained(x, "tp", None)


def main() -> None:
    layers = {"up": given((LAYERS, WIDTH, INNER), None, "fsdp", "tp"),
              "down": given((LAYERS, INNER, WIDTH), None, "tp", "fsdp")}  # fmt: skip
    low = {name: given(each.shape, *each.sharding.spec, dtype=jnp.bfloat16) for name, each in layers.items()}
    wide = {"experts": given((EXPERTS, 256, 256), "tp", None, None)}
    everywhere = {"experts": given((EXPERTS, 256, 256))}
    x = given((BATCH, WIDTH), "fsdp", None)
    tokens = given((BATCH, 256), "fsdp", None)
    programs = {
        "unrolled": (unrolled, layers, x),
        "scanned": (scanned, layers, x),
        "low": (unrolled, low, given((BATCH, WIDTH), "fsdp", None, dtype=jnp.bfloat16)),
        "gathering": (gathering, layers, x),
        "experts": (experts, wide, tokens),
        "gathered experts": (whole_experts, wide, tokens),
        "replicated experts": (whole_experts, everywhere, tokens),
        "permuted": (permuted, {}, x),
    }
    for name, (function, *arguments) in programs.items():
        compiled = jax.jit(function).lower(*arguments).compile()
        print(json.dumps({name: to_json(summary_of(compiled, MESH))}))


main()
