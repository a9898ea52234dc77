"""What one device gives of a case in the dtypes of a cell, and how far other orders of its sums may move it.

Neither depends on the mesh layout: a case and dtype needs them once.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from paritygate.core.cell import Cell, MeshLayout, Mode
from paritygate.core.drift import Drift, Reassociated
from paritygate.core.golden import GoldenPort
from paritygate.core.layout import real_rows
from paritygate.core.registry import load
from paritygate.core.site import Kind, Port
from paritygate.metrics.base import LARGEST
from paritygate.metrics.rel_l2 import compute
from paritygate.replay.bench import Bench, Values
from paritygate.replay.chained import chained
from paritygate.replay.decisions import Choices
from paritygate.replay.isolated import isolated
from paritygate.replay.job import Job
from paritygate.replay.observe import Moving
from paritygate.replay.repeat import Recorder, Replay
from paritygate.replay.telling import Telling
from paritygate.store.golden import GoldenStore

DRAWS = 3
# Not gradients: the moved program of a backward pass takes minutes to compile.
_REPLAYS: Mapping[Mode, Replay] = {Mode.ISOLATED: isolated, Mode.CHAINED: chained}


@dataclass(frozen=True)
class Alone:
    """The values of a case on one device, by mode and address: as they are, and in the runs with roundings moved.

    The first of these moves nothing. It is the same program as the others, and not that of `plain`, which XLA fuses.
    """

    plain: Values
    moved: tuple[Values, ...]

    def beside(self, golden: GoldenPort, mode: Mode, array: np.ndarray, real: np.ndarray | None) -> Reassociated | None:
        """A value of a mesh, in the golden's layout, beside that of one device, over its real tokens.

        None of what is no float, or not run alone. What one device does not give, or in another shape, is as far from
        it as can be: nothing passes for want of what it is held against.
        """
        key = (mode, golden.address)
        if golden.kind is not Kind.FLOAT or mode not in _REPLAYS:
            return None
        given = [values[key] for values in (self.plain, *self.moved) if key in values]
        if len(given) <= len(self.moved) or any(value.shape != array.shape for value in given):
            return Reassociated(LARGEST, 0.0)
        one, still, *moved = given
        bounds = [_rel_l2(still, other, golden.layout, real) for other in moved]
        return Reassociated(_rel_l2(one, array, golden.layout, real), max(bounds))


@dataclass(frozen=True)
class _LaidOut(Recorder):
    """A recorder that keeps values in the golden's layout; one that does not fit it is not kept."""

    def measured(
        self,
        golden: GoldenPort,
        port: Port,
        mode: Mode,
        value: jax.Array | np.ndarray | None,
        real: np.ndarray | None,
        choices: Choices | None = None,
    ) -> Drift:
        if value is not None:
            with suppress(ValueError):
                self.values[mode, golden.address] = self.laid_out(port, value, real)
        return self.unmeasured(golden, mode)


def run_alone(job: Job, store: GoldenStore, cell: Cell, known: dict[tuple[str, str], Alone], tell: Telling) -> None:
    """Adds to `known`, by case and dtype, what one device gives, where a cell of low precision lies on a mesh."""

    def at(mode: Mode, site: str) -> None:
        tell(mode=f"{mode} on one device", site=site)

    policy, layout = job.policies[cell.dtype], job.layouts.get(cell.mesh, MeshLayout(cell.mesh))
    if layout.devices == 1 or not policy.peer or policy.matmul:
        return
    for case in job.cases:
        family = job.families[case.family]
        bench = Bench(family, case, store.read(job.suite, case.id), cell, policy, store, routing=job.routing, at=at)
        if (case.id, cell.dtype) in known or family.unfit(family.preset(case.preset), layout, bench.prompt):
            continue
        tell(case=case.id)
        try:
            model = load(family.candidate.build)(bench.manifest.config, bench.weights(), policy)
        except Exception:  # its rows will say so, where it is built for the mesh
            continue
        known[case.id, cell.dtype] = alone(bench, model, job.modes)
        # The moved programs are large and not needed again; nor may the lint see lines of what was traced for them.
        jax.clear_caches()


def alone(bench: Bench, model: nnx.Module, modes: Sequence[Mode]) -> Alone:
    """Runs a candidate that lies on one device; its sums may be divided over all that there are."""
    given = (bench.family, bench.case, bench.manifest, bench.cell, bench.policy, bench.store)

    def values(moving: Moving | None) -> Values:
        recorder = _LaidOut(*given, routing=bench.routing, moving=moving, at=bench.at)
        for mode in (mode for mode in modes if mode in _REPLAYS):
            for _ in _REPLAYS[mode](recorder, model):
                pass
        return recorder.values

    draws = (Moving(jax.device_count(), draw) for draw in range(DRAWS + 1))
    return Alone(values(None), tuple(values(draw) for draw in draws))


def _rel_l2(one: np.ndarray, other: np.ndarray, layout: str, real: np.ndarray | None) -> float:
    rows = [real_rows(each, layout, real).astype(np.float64) for each in (one, other)]
    return compute(rows[0], rows[1], other.dtype.name)
