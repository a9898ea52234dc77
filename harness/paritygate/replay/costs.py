"""What variations of a dtype policy cost: whole passes of the candidate, read at the logits and at what it chooses."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr

from paritygate.audit.flat import flat
from paritygate.core.cell import Cell, Mode
from paritygate.core.drift import Drift
from paritygate.core.family import Case
from paritygate.core.golden import GoldenPort
from paritygate.core.layout import real_rows
from paritygate.core.registry import load
from paritygate.core.sensitivity import LOGITS, Cost, Variation
from paritygate.core.site import Site, chosen
from paritygate.metrics import kl, rel_l2
from paritygate.metrics.decisions import by_token, differing
from paritygate.replay.chained import chained
from paritygate.replay.job import Job
from paritygate.replay.repeat import Recorder
from paritygate.replay.telling import Telling
from paritygate.store.golden import GoldenStore


@dataclass(frozen=True)
class _AtTheLogits(Recorder):
    """A bench that reads the logits and the choices, and nothing else."""

    problems: list[str] = field(default_factory=list)

    def outputs(self, site: Site, call: int, mode: Mode) -> list[GoldenPort]:
        return [golden for golden in super().outputs(site, call, mode) if _is_read(golden, site)]

    def failed(self, golden: GoldenPort, mode: Mode, reason: Exception) -> Drift:
        self.problems.append(f"{type(reason).__name__}: {reason}"[:500])
        return super().failed(golden, mode, reason)


def _is_read(golden: GoldenPort, site: Site) -> bool:
    return golden.role == LOGITS or golden.port in {port.name for port in chosen(site)}


def costs(job: Job, store: GoldenStore, tell: Telling) -> Iterator[Cost]:
    """One for each variation and case; a variation of a layer only for cases that have it."""
    for variation in job.variations:
        model: Any = None
        built: Any = None
        for case in job.cases:
            bench = bench_of(job, store, case, variation)
            if variation.layer and all(site.candidate != variation.layer for site in bench.sites):
                continue
            tell(cell=f"{variation.kind} {variation.name}", case=case.id)
            key = (case.family, bench.manifest.config, bench.manifest.weights)
            try:
                if key != built:
                    build = load(bench.family.candidate.build)
                    model, built = build(bench.manifest.config, bench.weights(), variation.policy), key
                yield _cost(bench, model, variation)
            except Exception as reason:  # the candidate's own failure is a result, and no cost of 0
                text = f"{type(reason).__name__}: {reason}"[:500]
                yield Cost(variation.kind, variation.name, case.id, problem=text)


def bench_of(job: Job, store: GoldenStore, case: Case, variation: Variation) -> _AtTheLogits:
    """The bench that a variation of a case is run on."""
    cell = Cell(variation.policy.name, "single", job.environment.platform)
    manifest = store.read(job.suite, case.id)
    return _AtTheLogits(job.families[case.family], case, manifest, cell, variation.policy, store)


def passed(bench: Recorder, model: nnx.Module, variation: Variation) -> list[ClosedJaxpr]:
    """Runs the model from tokens as the variation says; returns the program of each pass."""
    programs: list[ClosedJaxpr] = []
    inside: Any = nullcontext()
    if variation.inside is not None:
        inside = load(bench.family.candidate.narrowed)(model, variation.layer, variation.inside)
    with inside:
        for _ in chained(replace(bench, look=lambda traced, way: programs.append(traced.jaxpr)), model):
            pass
    return programs


def _cost(bench: _AtTheLogits, model: nnx.Module, variation: Variation) -> Cost:
    programs = passed(bench, model, variation)
    written = 0 if variation.policy.matmul else sum(map(written_bytes, programs))  # else they are the emulation's
    cost = partial(Cost, variation.kind, variation.name, bench.case.id, written_bytes=written)
    return cost(problem=bench.problems[0]) if bench.problems else measured(bench, cost)


def written_bytes(program: ClosedJaxpr) -> int:
    """What the equations of a program give, each result counted once, whether or not a compiler keeps it in memory."""
    values = [value for equation in flat(program) for value in equation.outputs]
    return sum(int(np.prod(value.shape)) * value.dtype.itemsize for value in values if value.dtype != object)


def measured(bench: Recorder, cost: Callable[..., Cost]) -> Cost:
    """The cost of the values that a bench was given, over real tokens; `cost` makes one of the numbers.

    Logits that are not finite are a problem.
    """
    of_logits: list[tuple[np.ndarray, np.ndarray]] = []
    flips = choices = 0
    for golden in bench.manifest.ports:
        value, site = bench.values.get((Mode.CHAINED, golden.address)), bench.site(golden.site)
        if value is None or not _is_read(golden, site):
            continue
        port = next(port for port in site.ports if port.name == golden.port)
        real = bench.real(site, golden.call)
        sides = bench.store.tensor(golden.tensor), bench.laid_out(port, value, real)
        if golden.role == LOGITS:
            wanted, got = (real_rows(side, golden.layout, real).astype(np.float64) for side in sides)
            of_logits.append((wanted, got))
        else:
            wanted, got = (by_token(side, golden.layout, real.shape) for side in sides)
            flips += int(differing(wanted, got, real).sum())
            choices += int(real.sum())
    ours, theirs = (np.concatenate(side) for side in zip(*of_logits, strict=True))
    if not np.isfinite(theirs).all():
        return cost(problem=f"{(~np.isfinite(theirs)).any(1).sum()} tokens have logits that are not finite")
    by_row = kl.by_row(ours, theirs)
    return cost(
        tokens=len(ours),
        kl=_short(by_row.mean()),
        kl_max=_short(by_row.max()),
        rel_l2=_short(rel_l2.compute(ours, theirs, "float64")),
        top1=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        flips=flips,
        choices=choices,
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")
