"""Child process with eight devices: how far programs split over some of them are from one device, and the bound.

Prints a JSON line for each program: how far it is when split over 2, 4 and 8 devices (several layers, or with a fault
planted: over 8).
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from paritygate.audit.reassociation import moved
from paritygate.metrics.rel_l2 import compute

ROWS, TERMS, WIDTH = 32, 128, 48
SPLITS = (2, 4, 8)
BF16, F32 = jnp.bfloat16, jnp.float32
rng = np.random.default_rng(7)
LEFT, RIGHT = rng.standard_normal((ROWS, TERMS)), rng.standard_normal((TERMS, WIDTH))
UP, DOWN = (rng.standard_normal((2, *shape)) / shape[0] ** 0.5 for shape in ((TERMS, 2 * TERMS), (2 * TERMS, TERMS)))
Part = Callable[[Any], Any]


def product(left, right, result=F32):
    return jax.lax.dot(left, right, preferred_element_type=result)


def total(left):
    return jax.lax.reduce_sum(left, (1,))


def layers(x, up, down):
    """Two layers, each a norm, two products and a residual; scanned, as a model of many is."""

    def layer(x, weights):
        wide = x.astype(F32)
        normed = (wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + 1e-5)).astype(x.dtype)
        return x + jax.nn.silu(normed @ weights[0]) @ weights[1], None

    return jax.lax.scan(layer, x, (up, down))[0]


def gradient(x, up, down):
    return jax.grad(lambda up: (layers(x, up, down).astype(F32) ** 2).mean())(up)


def over(devices: int) -> jax.sharding.Mesh:
    return jax.make_mesh((devices,), ("parts",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def spec(axis: int | None, rank: int) -> PartitionSpec:
    return PartitionSpec(*("parts" if each == axis else None for each in range(rank)))


def split(function, devices: int, arguments, axes):
    mesh = over(devices)
    placed = [
        jax.device_put(each, NamedSharding(mesh, spec(axis, each.ndim)))
        for each, axis in zip(arguments, axes, strict=True)
    ]
    return jax.jit(function)(*placed)


def by_hand(function, joined: Part, devices: int, left, right):
    """The product with its parts joined as `joined` does."""
    axes = (PartitionSpec(None, "parts"), PartitionSpec("parts", None))
    each = jax.shard_map(
        lambda left, right: joined(function(left, right)),
        mesh=over(devices), in_specs=axes, out_specs=PartitionSpec(), check_vma=False,
    )  # fmt: skip
    return jax.jit(each)(left, right)


def summed(part):
    return jax.lax.psum(part, "parts")


def one_left_out(part):
    return summed(jnp.where(jax.lax.axis_index("parts") == 1, 0, part))


def counted_twice(part):
    return summed(summed(part))


def rounded(part):
    return summed(jax.lax.reduce_precision(part.astype(F32), 8, 7)).astype(part.dtype)


def far(one, other) -> float:
    return compute(np.asarray(one, np.float64), np.asarray(other, np.float64), "")


def bound(function, devices: int, arguments) -> float:
    traced = jax.jit(moved(function, devices)).lower(*arguments)
    found = traced.compile({"xla_backend_optimization_level": 0})(*arguments)
    return max(far(found.unmoved, each) for each in found.moved)


def main() -> None:
    products, middle = ((1, 0), (LEFT, RIGHT)), ((None, 2, 1), (LEFT, UP, DOWN))
    programs = {
        "product f32": (product, F32, *products),
        "product of bf16 in f32": (product, BF16, *products),
        "product bf16": (partial(product, result=BF16), BF16, *products),
        "sum f32": (total, F32, (1,), (LEFT,)),
        "sum bf16": (total, BF16, (1,), (LEFT,)),
        "layers f32": (layers, F32, *middle),
        "layers bf16": (layers, BF16, *middle),
        "gradient f32": (gradient, F32, *middle),
        "gradient bf16": (gradient, BF16, *middle),
    }
    for name, (function, dtype, axes, given) in programs.items():
        arguments = [jnp.asarray(each, dtype) for each in given]
        alone = jax.jit(function)(*arguments)
        splits = SPLITS[-1:] if function in (layers, gradient) else SPLITS
        drifts = {str(devices): far(alone, split(function, devices, arguments, axes)) for devices in splits}
        print(json.dumps({"name": name, "bound": bound(function, max(SPLITS), arguments), "drifts": drifts}))
    for name in ("product f32", "product of bf16 in f32", "product bf16"):
        function, dtype, *_ = programs[name]
        arguments = [jnp.asarray(LEFT, dtype), jnp.asarray(RIGHT, dtype)]
        alone = jax.jit(function)(*arguments)
        for joined in (summed, one_left_out, counted_twice, rounded):
            drift = far(alone, by_hand(function, joined, 8, *arguments))
            print(json.dumps({"name": f"{name}, {joined.__name__}", "drifts": {"8": drift}}))


main()
