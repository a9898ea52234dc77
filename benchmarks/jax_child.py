"""Child process: jax_llama4. Usage: python jax_child.py FOLDER SIZE DTYPE"""

import functools
import sys
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from child import serve
from flax import nnx
from sizes import SIZES, Size

from jax_llama4 import Llama4ForCausalLM, Llama4TextMoe, Llama4VisionModel
from jax_llama4.precision import accumulation

DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16}


def main(folder: Path, size_name: str, dtype: str) -> None:
    size = SIZES[size_name]
    model = Llama4ForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])
    graph, weights = nnx.split(model)
    prompt = jnp.asarray(np.load(folder / "prompt.npy"), int)
    vision_graph, vision_weights = nnx.split(Llama4VisionModel.from_pretrained(folder / "vision", dtype=DTYPES[dtype]))
    pixels = jnp.asarray(np.load(folder / "pixels.npy"), DTYPES[dtype])
    state: dict[str, Any] = {}

    @jax.jit
    def prompt_program(weights: Any, prompt: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        model = nnx.merge(graph, weights)
        out: Any = model(prompt, past_key_values=model.init_cache(len(prompt), size.cache_slots), logits_to_keep=1)
        return jnp.argmax(out.logits[:, -1], axis=-1)[:, None], out.logits[:, -1], out.past_key_values

    @functools.partial(jax.jit, donate_argnums=2)
    def step_program(weights: Any, token: jax.Array, cache: Any) -> tuple[jax.Array, jax.Array, Any]:
        out: Any = nnx.merge(graph, weights)(token, past_key_values=cache)
        return jnp.argmax(out.logits[:, -1], axis=-1)[:, None], out.logits[:, -1], out.past_key_values

    @jax.jit
    def tower_program(weights: Any, pixels: jax.Array) -> jax.Array:
        return nnx.merge(vision_graph, weights)(pixels).last_hidden_state

    def prefill() -> None:
        state["token"], state["logits"], state["cache"] = jax.block_until_ready(prompt_program(weights, prompt))

    def decode() -> None:
        for _ in range(size.decode_tokens):
            state["token"], state["logits"], state["cache"] = step_program(weights, state["token"], state["cache"])
            np.asarray(state["token"])

    def tower() -> None:
        state["features"] = jax.block_until_ready(tower_program(vision_weights, pixels))

    def save(what: str) -> None:
        np.save(folder / f"{what}-jax-{dtype}.npy", np.asarray(state[what], np.float32))

    moe: Any = model.model.layers[0].feed_forward
    about = {
        "versions": {"jax": jax.__version__, "flax": flax.__version__},
        "parameters": sum(weight.size for weight in jax.tree.leaves(weights)),
        "vision_parameters": sum(weight.size for weight in jax.tree.leaves(vision_weights)),
    }
    jobs = {"prefill": prefill, "decode": decode, "tower": tower}
    jobs |= {f"save {what}": functools.partial(save, what) for what in ("logits", "features")}
    for place, tokens in {"prefill": size.prompt_tokens, "decode": 1}.items():
        jobs |= {f"{name} {place}": job for name, job in mixture_jobs(moe, size, tokens).items()}
    serve(about, jobs)


def mixture_jobs(moe: Llama4TextMoe, size: Size, tokens: int) -> dict[str, Any]:
    """One mixture layer on random tokens: routed part as dispatched, all experts dense, and the matrix products alone.

    `alone` knows the routing when it is compiled: each expert's rows lie in an array of their own, and so do its
    weights. Nothing is sorted, sliced, padded or combined: no program that learns the routing as it runs gets there.
    """
    dtype = moe.experts.numerics.compute
    x = jax.random.normal(jax.random.key(tokens), (tokens, size.config["hidden_size"])).astype(dtype)
    scores, _ = moe.router(x)
    top_scores, choice = jax.lax.top_k(scores, moe.router.top_k)
    rows = (x[:, None] * top_scores[..., None]).reshape(-1, x.shape[-1])
    by_expert = [rows[np.flatnonzero(np.asarray(choice).ravel() == expert)] for expert in range(scores.shape[1])]
    chosen = [expert for expert, its_rows in enumerate(by_expert) if len(its_rows)]
    gate_up, down = moe.experts.gate_up_proj[...], moe.experts.down_proj[...]
    graph, state = nnx.split(moe)

    def product(rows: jax.Array, kernel: jax.Array) -> jax.Array:
        wide = accumulation(rows.dtype)
        return jnp.dot(rows, kernel, precision=moe.experts.numerics.precision, preferred_element_type=wide).astype(
            rows.dtype
        )

    def alone(parts: Any) -> Any:
        act = moe.experts.act_fn
        halves = [jnp.split(product(rows, first), 2, axis=-1) for rows, first, _ in parts]
        return [product(up * act(gate), second) for (gate, up), (_, _, second) in zip(halves, parts, strict=True)]

    def routed(state: Any, x: jax.Array, scores: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)._chosen_experts(x, scores, "auto")

    def dense(state: Any, x: jax.Array, scores: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)._every_expert(x, scores)

    def layer(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x[None])[0]

    parts = [(by_expert[expert], gate_up[expert], down[expert]) for expert in chosen]
    programs = {
        "alone": (jax.jit(alone), (parts,)),
        "routed": (jax.jit(routed), (state, x, scores)),
        "dense": (jax.jit(dense), (state, x, scores)),
        "layer": (jax.jit(layer), (state, x)),
    }

    def job(program: Any, arguments: Any) -> None:
        jax.block_until_ready(program(*arguments))

    return {name: functools.partial(job, *what) for name, what in programs.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
