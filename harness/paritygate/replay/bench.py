"""One golden under one cell: what the two replay modes need of it, inputs in the cell's dtypes and measured results."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.drift import Drift
from paritygate.core.family import Case, Family
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.layout import convert
from paritygate.core.site import Kind, Port, Site
from paritygate.metrics.measure import measure
from paritygate.store.golden import GoldenStore
from paritygate.store.objects import dtype_of


@dataclass(frozen=True)
class Bench:
    """A case, its golden, and the cell that the candidate is run in."""

    family: Family
    case: Case
    manifest: Golden
    cell: Cell
    policy: DtypePolicy
    store: GoldenStore

    @cached_property
    def sites(self) -> list[Site]:
        return self.family.sites_of(self.family.preset(self.case.preset))

    @cached_property
    def _ports(self) -> dict[tuple[str, str, int], GoldenPort]:
        return {(port.site, port.port, port.call): port for port in self.manifest.ports}

    @cached_property
    def real(self) -> np.ndarray:
        """Bool (B, T): which tokens are real."""
        return self.input("attention_mask").astype(bool)

    @cached_property
    def sizes(self) -> dict[str, int]:
        return dict(zip("BT", self.real.shape, strict=True))

    def input(self, name: str) -> np.ndarray:
        return self.store.tensor(self.manifest.inputs[name])

    def golden(self, site: str, port: str, call: int) -> GoldenPort:
        return self._ports[site, port, call]

    def outputs(self, site: Site, call: int, mode: Mode) -> list[GoldenPort]:
        """The golden values of a site that a replay in `mode` is compared with."""
        found = (self._ports.get((site.name, port.name, call)) for port in site.ports if not port.is_input)
        return [port for port in found if port is not None and mode in port.modes]

    def argument(self, port: Port, golden: GoldenPort) -> jax.Array:
        """A golden input in the candidate's layout and in the dtype that the cell gives it."""
        array = convert(self.store.tensor(golden.tensor), port.layout, port.candidate_layout or port.layout, self.sizes)
        if port.kind is Kind.FLOAT:
            array = array.astype(dtype_of(self.policy.dtype(port.numerics)))
        return _device(array)

    def model_arguments(self) -> dict[str, jax.Array]:
        """The case inputs under the names of the whole candidate's parameters."""
        return {name: _device(self.input(key)) for name, key in self.family.candidate.inputs.items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: self.store.tensor(ref) for name, ref in self.manifest.weights.items()}

    def measured(self, golden: GoldenPort, port: Port, mode: Mode, value: jax.Array | None) -> Drift:
        """The drift of one value; a value that is not there, or of another shape, is a problem and no drift."""
        if value is None:
            detail = f"the candidate shows nothing at {port.candidate!r}"
            return self._drift(golden, mode, golden.tensor.shape, "", problem="missing", detail=detail)
        array = np.asarray(value)
        shape, dtype = array.shape, array.dtype.name
        if port.candidate.endswith("| sorted"):
            array = np.sort(array, axis=-1)
        try:
            array = convert(array, port.candidate_layout or port.layout, port.layout, self.sizes)
        except ValueError as reason:
            return self._drift(golden, mode, shape, dtype, problem="mismatch", detail=str(reason))
        found = measure(
            self.store.tensor(golden.tensor),
            array,
            kind=golden.kind,
            role=golden.role,
            layout=golden.layout,
            real=self.real,
        )
        return self._drift(
            golden,
            mode,
            shape,
            dtype,
            metrics=found.metrics,
            scale=found.scale,
            nonfinite=found.nonfinite,
            worst=found.worst,
            problem=found.problem,
            detail=found.detail,
        )

    def failed(self, golden: GoldenPort, mode: Mode, reason: Exception) -> Drift:
        problem = "missing" if isinstance(reason, LookupError) else "error"
        detail = f"{type(reason).__name__}: {reason}"[:2000]
        return self._drift(golden, mode, golden.tensor.shape, "", problem=problem, detail=detail)

    def _drift(self, golden: GoldenPort, mode: Mode, shape: tuple[int, ...], dtype: str, **fields: Any) -> Drift:
        return Drift(
            case=self.case.id,
            cell=str(self.cell),
            mode=str(mode),
            site=golden.site,
            port=golden.port,
            call=golden.call,
            order=golden.order,
            kind=str(golden.kind),
            layout=golden.layout,
            shape=tuple(shape),
            dtype=dtype,
            **fields,
        )


def _device(array: np.ndarray) -> jax.Array:
    # 32-bit indices in every cell: float64 is on trial in the x64 cells, not the width of a token.
    if np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int32)
    return jnp.asarray(np.ascontiguousarray(array))
