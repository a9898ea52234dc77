"""Replays a case again and compares bits: whether the candidate gives the same values each time it is called.

The first case of each cell is repeated, in the modes of the run: its programs are compiled already, and a pass without
measuring costs a fraction of the measured one. Each cell, since kernels that keep the order of their sums in one dtype
need not do so in another. Only where the bits differ is every case of the cell repeated, for its noise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from flax import nnx

from paritygate.core.cell import Mode
from paritygate.core.drift import Drift
from paritygate.core.golden import GoldenPort
from paritygate.core.run import Repeat
from paritygate.core.site import Port
from paritygate.replay.bench import Bench, Values
from paritygate.replay.decisions import Choices
from paritygate.replay.devices import whole

PASSES = 2  # before the one that is measured

Replay = Callable[[Bench, nnx.Module], Iterator[Drift]]


@dataclass(frozen=True)
class Recorder(Bench):
    """A bench that keeps the values it is given, and measures none."""

    values: Values = field(default_factory=dict)

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
            self.values[mode, golden.address] = whole(value)
        return self.unmeasured(golden, mode)


def passes(bench: Bench, model: nnx.Module, modes: Sequence[Mode], replays: Mapping[str, Replay]) -> tuple[Values, ...]:
    """The values of a case, by mode and address, in passes that are not measured."""
    given = (bench.family, bench.case, bench.manifest, bench.cell, bench.policy, bench.store)
    recorders = [Recorder(*given, routing=bench.routing, grid=bench.grid, at=bench.at) for _ in range(PASSES)]
    for recorder in recorders:
        for mode in modes:
            for _ in replays[mode](recorder, model):
                pass
    return tuple(recorder.values for recorder in recorders)


def repeat(bench: Bench, found: tuple[Values, ...]) -> Repeat:
    """Which values of a case are not the same bits in every pass."""
    addresses = dict.fromkeys(address for values in found for address in values)
    differing = [address for address in addresses if len({_bits(values.get(address)) for values in found}) > 1]
    return Repeat(
        str(bench.cell), bench.case.id, len(addresses), tuple(f"{mode} {address}" for mode, address in differing)
    )


def _bits(value: np.ndarray | None) -> tuple[str, tuple[int, ...], bytes] | None:
    return None if value is None else (value.dtype.name, value.shape, value.tobytes())
