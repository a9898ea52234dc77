"""Isolated replay: each site of the candidate gets its golden inputs, so that its drift is its own."""

from collections.abc import Iterator

from flax import nnx

from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.replay.bench import Bench
from paritygate.replay.observe import observe, place, submodule


def isolated(bench: Bench, model: nnx.Module) -> Iterator[Drift]:
    """One drift for each output and inner port of each site that is replayed alone."""
    for site in bench.sites:
        if Mode.ISOLATED not in site.modes:
            continue
        for call in range(site.calls):
            ports = bench.outputs(site, call, Mode.ISOLATED)
            specs = {port.name: port for port in site.ports}
            places = [place(specs[golden.port], site, 0, site.candidate) for golden in ports]
            arguments = {
                port.candidate: bench.argument(port, bench.golden(site.name, port.name, call))
                for port in site.ports
                if port.is_input
            }
            try:
                values = observe(submodule(model, site.candidate), places, arguments)
            except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
                yield from (bench.failed(golden, Mode.ISOLATED, reason) for golden in ports)
                continue
            for golden, value in zip(ports, values, strict=True):
                yield bench.measured(golden, specs[golden.port], Mode.ISOLATED, value, bench.real(site, call))
