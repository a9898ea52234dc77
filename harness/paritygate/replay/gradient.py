"""Gradient replay: the candidate's loss, differentiated by every weight, under the reference's names."""

from collections.abc import Iterator
from functools import partial

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
    differentiate = load(bench.family.candidate.gradients)
    arguments = bench.model_arguments(*bench.prompt.spans[0])
    matmul = bench.policy.matmul
    emulation = {"rewrite": partial(emulated, matmul=matmul, weights=(0,))} if matmul else {}
    try:
        found = differentiate(model, arguments, bench.prompt.backward, **emulation)
    except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
        for golden in goldens:
            yield bench.failed(golden, Mode.GRADIENT, reason)
        return
    for golden in goldens:
        value = found.get(golden.port.removeprefix("out."))
        yield bench.measured(golden, ports[golden.port], Mode.GRADIENT, value, None)
