"""Chained replay: the whole candidate runs from tokens, and every site is read on the way, glue included."""

from collections.abc import Iterator

from flax import nnx

from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.replay.bench import Bench
from paritygate.replay.observe import observe, place


def chained(bench: Bench, model: nnx.Module) -> Iterator[Drift]:
    """One drift for each output and inner port of each site, from one pass of the model."""
    goldens = [
        (golden, site, port)
        for site in bench.sites
        if Mode.CHAINED in site.modes
        for call in range(site.calls)
        for golden in bench.outputs(site, call, Mode.CHAINED)
        for port in site.ports
        if port.name == golden.port
    ]
    places = [place(port, site, golden.call, "") for golden, site, port in goldens]
    try:
        values = observe(model, places, bench.model_arguments())
    except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
        for golden, _, _ in goldens:
            yield bench.failed(golden, Mode.CHAINED, reason)
        return
    for (golden, _, port), value in zip(goldens, values, strict=True):
        yield bench.measured(golden, port, Mode.CHAINED, value)
