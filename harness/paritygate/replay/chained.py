"""Chained replay: the whole candidate runs from tokens, and every site is read on the way, glue included."""

from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx

from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.core.registry import load
from paritygate.replay.bench import Bench, Read
from paritygate.replay.decisions import Choices
from paritygate.replay.devices import misplaced
from paritygate.replay.observe import Place, observe, place
from paritygate.replay.routing import forced


def chained(bench: Bench, model: nnx.Module) -> Iterator[Drift]:
    """One drift for each output and inner port of each site, from one pass of the model, or from one a piece."""
    pieces = [reads_chained(bench, number) for number in range(len(bench.prompt.spans))]
    feed: Any = None
    choices = Choices(bench, Mode.CHAINED)
    for number, ((start, end), reads) in enumerate(zip(bench.prompt.spans, pieces, strict=True)):
        arguments = bench.model_arguments(start, end)
        bench.at(Mode.CHAINED, "")
        try:
            if number == 0:
                feed = feed_of(bench, model)
            values = _pass(bench, model, reads, arguments, feed, number)
        except Exception as reason:  # the candidate's own failure is a result: an `error` row, never a pass
            for golden, _, _ in (read for later in pieces[number:] for read in later):
                yield bench.failed(golden, Mode.CHAINED, reason)
            return
        choices.add([(*read, value) for read, value in zip(reads, values, strict=True)])
        for (golden, site, port), value in zip(reads, values, strict=True):
            yield bench.measured(golden, port, Mode.CHAINED, value, bench.real(site, golden.call), choices)


def reads_chained(bench: Bench, piece: int) -> list[Read]:
    """What is read in one piece: a site that a pass calls twice has two calls in it."""
    return [
        (golden, site, port)
        for site in bench.sites
        if Mode.CHAINED in site.modes
        for call in bench.prompt.calls(site, piece)
        for golden in bench.outputs(site, call, Mode.CHAINED)
        for port in site.ports
        if port.name == golden.port
    ]


def feed_of(bench: Bench, model: nnx.Module) -> Any:
    """What feeds a prompt in pieces through an empty cache; None for one that is fed whole."""
    if not bench.prompt.pieces:
        return None
    batch, length = bench.input("tokens").shape
    return load(bench.family.candidate.cache)(model, bench.prompt.cache, batch, length)


def places_of(bench: Bench, reads: list[Read], piece: int) -> list[Place]:
    """Where a pass shows what is read, and behind it the cache of a prompt in pieces."""
    calls = [golden.call - bench.prompt.calls(site, piece).start for golden, site, _ in reads]
    places = [place(port, site, call, "") for (_, site, port), call in zip(reads, calls, strict=True)]
    return [*places, Place((), 0, (bench.family.candidate.cache_name,))] if bench.prompt.pieces else places


def _pass(
    bench: Bench, model: nnx.Module, reads: list[Read], arguments: dict[str, jax.Array], feed: Any, piece: int
) -> list[jax.Array | None]:
    places, choices = places_of(bench, reads, piece), forced(bench, piece)
    if feed is None:
        return observe(model, places, arguments, choices, bench.policy.matmul, bench.look, bench.moving)
    *values, cache = observe(
        model, places, feed.arguments(arguments), choices, bench.policy.matmul, bench.look, bench.moving
    )
    if cache is None:
        raise ValueError(f"the candidate's result has no {bench.family.candidate.cache_name!r}")
    if bench.grid is not None:
        for path, why in misplaced(bench.grid, cache, feed.placed):
            bench.misplaced(f"{bench.family.candidate.cache_name}{path}", why)
    feed.keep(cache)
    return values
