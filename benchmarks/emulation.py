"""How much longer a model's forward pass takes with its products emulated, warm: one ratio an arithmetic.

python benchmarks/emulation.py [--width 256] [--layers 4] [--repeats 20]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig
from paritygate.audit.arithmetic import ARITHMETICS, emulated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("width", 256), ("layers", 4), ("repeats", 20), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
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
