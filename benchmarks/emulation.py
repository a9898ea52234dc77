"""What emulated arithmetics are off by, beside theory, and how long a model's forward pass takes with them, warm.

python benchmarks/emulation.py [--width 256] [--layers 4] [--repeats 20]
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig
from paritygate.audit.arithmetic import ARITHMETICS, emulated

# rel_l2 on random normal matrices, sums of 256 terms. A rounding to roundoff u is off by 0.42 u in the rms; two rounded
# operands by √2 times that; a total of n roundings on the way to √n by √(n/2) times that. bf16x3 leaves out the product
# of the middle parts, 0.42 · 2^-7 of a value each, and rounds them. int8 is off by a step of largest / 127 over √12,
# the largest of 256 being 3 times the rms.
_ROUNDED = 0.42 * math.sqrt(2)
_MIDDLE = 0.42 * 2.0**-7
THEORY = {
    "bf16x1": _ROUNDED * 2.0**-8,
    "bf16x3": math.hypot(_MIDDLE**2, _ROUNDED * 2.0**-8 * _MIDDLE),
    "bf16x6": 0.42 * 2.0**-24 * math.sqrt(256 / 2),
    "tf32": _ROUNDED * 2.0**-11,
    "f16-accumulate": 0.42 * 2.0**-11 * math.sqrt(32 / 2),
    "e4m3-weights": 0.42 * 2.0**-4,
    "e4m3-tensor": _ROUNDED * 2.0**-4,
    "e4m3-channel": _ROUNDED * 2.0**-4,
    "int8-weights": 3 / 127 / math.sqrt(12),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("width", 256), ("layers", 4), ("repeats", 20), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    print_errors()
    print_times(asked)


def print_errors() -> None:
    """Of the exact product: rel_l2 on random matrices beside theory's, and where rows nearly cancel the largest
    difference, over |product| and over the bound, which it may not exceed."""
    print(f"{'':<16}  {'random':>8}  {'theory':>8}  {'cancelling':>10}  {'of bound':>8}")
    draw = np.random.default_rng(0).standard_normal
    half, other = draw((64, 128)), draw((128, 64))
    near = np.hstack([half, -half * (1 + 2.0**-10 * draw(half.shape))]), np.vstack([other, other])
    for name in ARITHMETICS:
        random = _off(name, draw((64, 256)), draw((256, 64)))
        worst = _off(name, *near)
        print(f"{name:<16}  {random.rel_l2:8.1e}  {THEORY[name]:8.1e}  {worst.rel_l2:10.1e}  {worst.of_bound:8.2g}")


class Off(NamedTuple):
    rel_l2: float
    of_bound: float


def _off(name: str, lhs: np.ndarray, rhs: np.ndarray) -> Off:
    lhs, rhs = lhs.astype(np.float32), rhs.astype(np.float32)
    exact = lhs.astype(np.float64) @ rhs.astype(np.float64)
    apart = np.abs(np.asarray(jax.jit(emulated(jnp.matmul, name, weights=(1,)))(lhs, rhs)) - exact)
    of_bound = (apart / ARITHMETICS[name].bound(lhs, rhs)).max()
    return Off(float(np.linalg.norm(apart) / np.linalg.norm(exact)), float(of_bound))


def print_times(asked: argparse.Namespace) -> None:
    config = Llama4TextConfig(
        hidden_size=asked.width, intermediate_size=asked.width, intermediate_size_mlp=2 * asked.width,
        num_hidden_layers=asked.layers, num_attention_heads=4, num_key_value_heads=2, head_dim=asked.width // 4,
        vocab_size=512, num_local_experts=4,
    )  # fmt: skip
    model = Llama4ForCausalLM(config, rngs=nnx.Rngs(0), moe_dispatch="dense")
    graphdef, weights, rest = nnx.split(model, nnx.Param, ...)
    tokens = jnp.arange(2 * asked.tokens, dtype=jnp.int32).reshape(2, -1) % 512

    def forward(weights: Any, rest: Any, tokens: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, weights, rest)(tokens).logits

    names = ("", *(name for name in ARITHMETICS))
    programs = {name: jax.jit(emulated(forward, name, weights=(0,))) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for program in programs.values():
        program(weights, rest, tokens).block_until_ready()
    for _ in range(asked.repeats):  # in turn, so that what else the machine does meets all alike
        for name, program in programs.items():
            times[name].append(_seconds(program, weights, rest, tokens))
    plain = statistics.median(times[""])
    print(f"plain float32     {1e3 * plain:8.2f} ms")
    for name in names[1:]:
        found = statistics.median(times[name])
        best = min(times[name]) / min(times[""])
        print(f"{name:<16}  {1e3 * found:8.2f} ms  {found / plain:5.2f} x  (best {best:.2f} x)")


def _seconds(program: Callable[..., jax.Array], *arguments: Any) -> float:
    started = time.perf_counter()
    program(*arguments).block_until_ready()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
