"""Isolated replay: each site of the candidate gets its golden inputs, so that its drift is its own."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
from flax import nnx
from jax.stages import Traced

from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.core.site import Site
from paritygate.replay.bench import Bench, Read
from paritygate.replay.decisions import Choices
from paritygate.replay.observe import Way, observe, place, submodule
from paritygate.replay.routing import forced_alone


def isolated(bench: Bench, model: nnx.Module) -> Iterator[Drift]:
    """One drift for each output and inner port of each site that is replayed alone."""
    for site in bench.sites:
        if Mode.ISOLATED not in site.modes:
            continue
        for call in range(site.calls):
            bench.at(Mode.ISOLATED, site.name)
            reads, inside = reads_alone(bench, site, call), bench.choices_inside(site, call)
            places = [place(port, owner, 0, site.candidate) for _, owner, port in [*reads, *inside]]
            arguments = arguments_alone(bench, site, call)
            try:
                forced = forced_alone(bench, site, call)
                part = submodule(model, site.candidate)
                look = (
                    partial(_look, bench.look_at_site, site.name + (f"#{call}" if call else ""))
                    if bench.look_at_site
                    else None
                )
                values = observe(part, places, arguments, forced, bench.policy.matmul, look, bench.moving)
            except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
                yield from (bench.failed(golden, Mode.ISOLATED, reason) for golden, _, _ in reads)
                continue
            choices = Choices(bench, Mode.ISOLATED, site)
            choices.add([(*read, value) for read, value in zip([*reads, *inside], values, strict=True)])
            for (golden, _, port), value in zip(reads, values, strict=False):
                yield bench.measured(golden, port, Mode.ISOLATED, value, bench.real(site, call), choices)


def _look(at_site: Callable[[Traced, str], None], site: str, traced: Traced, way: Way) -> None:
    at_site(traced, site)


def reads_alone(bench: Bench, site: Site, call: int) -> list[Read]:
    """What is read of a site that is replayed alone."""
    specs = {port.name: port for port in site.ports}
    return [(golden, site, specs[golden.port]) for golden in bench.outputs(site, call, Mode.ISOLATED)]


def arguments_alone(bench: Bench, site: Site, call: int) -> dict[str, jax.Array]:
    """A site's golden inputs, under the names of its module's parameters."""
    return {
        port.candidate: bench.argument(port, bench.golden(site.name, port.name, call))
        for port in site.ports
        if port.is_input
    }
