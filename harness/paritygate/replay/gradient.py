"""Gradient replay: the candidate's loss, differentiated by every weight, under the reference's names."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from flax import nnx

from paritygate.audit.arithmetic import emulated
from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.core.registry import load
from paritygate.core.site import Kind, Port
from paritygate.replay.bench import Bench


def gradient(bench: Bench, model: nnx.Module) -> Iterator[Drift]:
    """One drift a weight; none where the prompt is not differentiated."""
    goldens = bench.expected(Mode.GRADIENT)
    if not goldens:
        return
    ports = {golden.port: Port(golden.port, Kind.FLOAT, golden.layout, "", golden.port) for golden in goldens}
    bench.at(Mode.GRADIENT, "")
    differentiate = load(bench.family.candidate.gradients)
    arguments = bench.model_arguments(*bench.prompt.spans[0])
    compiled = {"compiled": partial(compiled_for, bench)} if bench.policy.matmul or bench.look else {}
    try:
        found = differentiate(model, arguments, bench.prompt.backward, **compiled)
    except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
        for golden in goldens:
            yield bench.failed(golden, Mode.GRADIENT, reason)
        return
    for golden in goldens:
        value = found.get(golden.port.removeprefix("out."))
        yield bench.measured(golden, ports[golden.port], Mode.GRADIENT, value, None)


def compiled_for(bench: Bench, derivative: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A derivative by its first argument, the weights, in the cell's arithmetic; looked at before it is called."""
    jitted = jax.jit(emulated(derivative, bench.policy.matmul, weights=(0,)))

    def run(*given: Any) -> Any:
        if bench.look is not None:
            bench.look(jitted.trace(*given), "backward")
        return jitted(*given)

    return run
