"""One golden under one cell: what the two replay modes need of it, inputs in the cell's dtypes and measured results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Traced

from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.decision import Agreeing
from paritygate.core.drift import Drift
from paritygate.core.errors import unknown_name
from paritygate.core.family import PIXELS, Case, Family, Prompt
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.layout import convert, parse, real_rows
from paritygate.core.run import Routing
from paritygate.core.site import Port, Site, chosen, inner_sites
from paritygate.metrics.base import metrics
from paritygate.metrics.digest import digest
from paritygate.metrics.error_map import error_map
from paritygate.metrics.measure import dtype_class, measure
from paritygate.replay.devices import Grid, whole
from paritygate.replay.observe import Moving, NoSuchModule, Way
from paritygate.store.golden import GoldenStore
from paritygate.store.objects import dtype_of

if TYPE_CHECKING:
    from paritygate.replay.alone import Alone
    from paritygate.replay.decisions import Choices


FORCE = "--routing golden"  # how to ask for a replay in which no choice can differ


def in_order(array: np.ndarray) -> np.ndarray:
    """A set of choices, each row ascending."""
    return np.sort(array, axis=-1)


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sorted": in_order}


# The candidate's values by mode and address, as it gave them.
Values = dict[tuple[str, str], np.ndarray]
# The logical axes of case inputs that are not tokens by row.
_INPUT_AXES = {PIXELS: "I C X Y", "slots": "T"}
# A golden value, and the site and the port that the candidate shows it at.
Read = tuple[GoldenPort, Site, Port]


@dataclass(frozen=True)
class Bench:
    """A case, its golden, and the cell that the candidate is run in.

    `again` are the values of further passes, where the candidate does not give the same bits each time: how much they
    differ from a measured one is its noise.
    `kept` is given every value of the candidate's before it is compared, in the golden's layout; `look`, where there is
    one, what was traced of each pass of the whole model, and which way it goes; `look_at_site` what was of one site.
    `grid` are the devices that the candidate lies on, where they are several; `misplaced` is told of caches that lie on
    them otherwise than they should; `alone` is what one device gives. `at` is told of each site that is begun.
    """

    family: Family
    case: Case
    manifest: Golden
    cell: Cell
    policy: DtypePolicy
    store: GoldenStore
    again: tuple[Values, ...] = ()
    kept: Callable[[GoldenPort, Mode, np.ndarray], None] = lambda golden, mode, array: None
    routing: Routing = "own"
    look: Callable[[Traced, Way], None] | None = None
    look_at_site: Callable[[Traced, str], None] | None = None
    moving: Moving | None = None
    grid: Grid | None = None
    misplaced: Callable[[str, str], None] = lambda path, why: None
    alone: "Alone | None" = None
    at: Callable[[Mode, str], None] = lambda mode, site: None

    @cached_property
    def prompt(self) -> Prompt:
        return self.family.prompt(self.case.prompt)

    @cached_property
    def sites(self) -> list[Site]:
        return self.family.sites_for(self.family.preset(self.case.preset), self.prompt)

    @cached_property
    def _ports(self) -> dict[tuple[str, str, int], GoldenPort]:
        return {(port.site, port.port, port.call): port for port in self.manifest.ports}

    def real(self, site: Site, call: int) -> np.ndarray:
        """Bool (B, T): which tokens are real, of the piece that a site's call belongs to."""
        start, end = self.prompt.span(site, call)
        return self.input("attention_mask")[:, start:end].astype(bool)

    def tokens(self, golden: GoldenPort) -> np.ndarray:
        """Int (B, T): the numbers of those tokens, counted from the first real one of their row."""
        site = next(site for site in self.sites if site.name == golden.site)
        start, end = self.prompt.span(site, golden.call)
        return np.arange(start, end) - self.input("attention_mask").argmax(axis=1)[:, None]

    def site(self, name: str) -> Site:
        return next(site for site in self.sites if site.name == name)

    def input(self, name: str) -> np.ndarray:
        return self.store.tensor(self.manifest.inputs[name])

    def golden(self, site: str, port: str, call: int) -> GoldenPort:
        return self._ports[site, port, call]

    def outputs(self, site: Site, call: int, mode: Mode) -> list[GoldenPort]:
        """The golden values of a site that a replay in `mode` is compared with."""
        found = (self._ports.get((site.name, port.name, call)) for port in site.ports if not port.is_input)
        return [port for port in found if port is not None and mode in port.modes]

    def expected(self, mode: Mode) -> list[GoldenPort]:
        """Every golden value that a replay in `mode` is compared with."""
        return [port for port in self.manifest.ports if mode in port.modes]

    def choices_inside(self, site: Site, call: int) -> list[Read]:
        """The choices that sites inside `site` make while it is run alone, where they may be nearly tied."""
        if not self.manifest.peer_values:
            return []
        return [
            (self.golden(inner.name, port.name, call), inner, port)
            for inner in inner_sites(site, self.sites)
            for port in chosen(inner)
        ]

    def argument(self, port: Port, golden: GoldenPort) -> jax.Array:
        """A golden input in the candidate's layout and in the dtype that the cell gives it."""
        sizes = dict(zip("BT", self.input("tokens").shape, strict=True))
        layout = port.candidate_layout or port.layout
        array = convert(self.store.tensor(golden.tensor), port.layout, layout, sizes)
        return self._given(array, layout, self.policy.dtype(port.numerics))

    def model_arguments(self, start: int, end: int) -> dict[str, jax.Array]:
        """The case inputs of the slots from `start` to `end`, under the names of the whole candidate's parameters."""
        given = self.prompt.given(self.family.candidate, start)
        pieces = {
            name: self.input(key) if key == PIXELS else self.input(key)[..., start:end] for name, key in given.items()
        }
        return {
            name: self._given(array, _INPUT_AXES.get(given[name], "B T"), self.policy.dtype("compute"))
            for name, array in pieces.items()
        }

    def _given(self, array: np.ndarray, layout: str, dtype: str) -> jax.Array:
        """As the candidate is given it: on a mesh it is split by the rules, a merged axis by those of its first."""
        value = _device(array, dtype)
        if self.grid is None:
            return value
        return self.grid.put(value, [self.family.axes.get(group[0], "") for group in parse(layout)])

    def weights(self) -> dict[str, np.ndarray]:
        return {name: self.store.tensor(ref) for name, ref in self.manifest.weights.items()}

    def peer(self, mode: Mode, address: str) -> np.ndarray | None:
        """What the peer that judges the cell has at an address; None where the golden does not keep it."""
        ref = self.manifest.peer_values.get(mode, {}).get(self.policy.judged_as, {}).get(address)
        return None if ref is None else self.store.tensor(ref)

    def laid_out(self, port: Port, value: jax.Array | np.ndarray, real: np.ndarray | None) -> np.ndarray:
        """A value of the candidate as the golden has it; raises ValueError where it does not fit its layout."""
        array = whole(value)
        if transform := port.candidate.partition("|")[2].strip():
            if transform not in TRANSFORMS:
                raise unknown_name("transform", transform, list(TRANSFORMS))
            array = TRANSFORMS[transform](array)
        sizes = {} if real is None else dict(zip("BT", real.shape, strict=True))
        return convert(array, self._candidate_layout(port), port.layout, sizes)

    def measured(
        self,
        golden: GoldenPort,
        port: Port,
        mode: Mode,
        value: jax.Array | np.ndarray | None,
        real: np.ndarray | None,
        choices: "Choices | None" = None,
    ) -> Drift:
        """The drift of one value over its real tokens; one that is absent or of another shape is a problem instead.

        Behind flips among `choices` it is over those tokens that no flip can have reached.
        """
        self.at(mode, golden.site)
        if value is None:
            detail = f"the candidate shows nothing at {port.candidate!r}"
            return self._drift(golden, mode, golden.tensor.shape, "", problem="missing", detail=detail)
        shape, dtype = value.shape, value.dtype.name
        placement = self.grid.wrong(value, port.placed.split()) if self.grid and isinstance(value, jax.Array) else ""
        try:
            array = self.laid_out(port, value, real)
        except ValueError as reason:
            return self._drift(golden, mode, shape, dtype, problem="mismatch", detail=str(reason))
        self.kept(golden, mode, array)
        if self.routing == "golden" and golden.port in {port.name for port in chosen(self.site(golden.site))}:
            detail = "the golden's choice was forced"
            return self._drift(golden, mode, shape, dtype, problem="forced", detail=detail)
        agreeing = None
        if real is not None and choices is not None and (left := choices.unreached(golden, real)) is not None:
            if not left.any():
                detail = f"every token is behind a flip; {FORCE} compares them"
                return self._drift(golden, mode, shape, dtype, problem="behind", detail=detail)
            floors = choices.floors(golden, left)
            agreeing, real = Agreeing(int(left.sum()), int(real.sum()), floors), left
        wanted, tokens = self.store.tensor(golden.tensor), None if real is None else self.tokens(golden)
        place: dict[str, Any] = {"kind": golden.kind, "layout": golden.layout, "real": real, "tokens": tokens}
        found = measure(wanted, array, role=golden.role, **place)
        return self._drift(
            golden,
            mode,
            shape,
            dtype,
            metrics=found.metrics,
            scale=found.scale,
            nonfinite=found.nonfinite,
            worst=found.worst,
            where=found.where,
            histogram=found.histogram,
            ratios=found.ratios,
            error_map=None if found.problem == "mismatch" else error_map(wanted, array, **place),
            noise=self._noise(golden, port, mode, array, real),
            decided=choices.decided.get(golden.address) if choices is not None else None,
            agreeing=agreeing,
            placement=placement,
            reassociated=self.alone.beside(golden, mode, array, real) if self.alone else None,
            problem=found.problem,
            detail=found.detail,
            digest=digest(real_rows(array, golden.layout, real)) if found.metrics else "",
        )

    def _noise(
        self, golden: GoldenPort, port: Port, mode: Mode, array: np.ndarray, real: np.ndarray | None
    ) -> dict[str, float]:
        """The largest drift of a value from itself in the other passes, by metric; none where all are equal."""
        noise: dict[str, float] = {}
        for values in self.again:
            other = values.get((mode, golden.address))
            if other is None or other.shape != array.shape:
                continue
            one = self.laid_out(port, other, real)
            found = measure(one, array, kind=golden.kind, role=golden.role, layout=golden.layout, real=real)
            for name, value in found.metrics.items():
                if metrics()[name].better == "lower":
                    noise[name] = max(noise.get(name, 0.0), value)
        return {name: value for name, value in noise.items() if value > 0.0}

    def _candidate_layout(self, port: Port) -> str:
        layout = port.candidate_layout or port.layout
        # Through pages, all rows' tokens lie one after another in one row.
        return layout.replace("B T ", "1 (B T) ", 1) if self.prompt.cache == "paged" and layout[0] == "B" else layout

    def unmeasured(self, golden: GoldenPort, mode: Mode) -> Drift:
        """The place of a value that is not measured."""
        return self._drift(golden, mode, golden.tensor.shape, "")

    def failed(self, golden: GoldenPort, mode: Mode, reason: Exception) -> Drift:
        problem = "missing" if isinstance(reason, NoSuchModule) else "error"
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


def _device(array: np.ndarray, dtype: str) -> jax.Array:
    """The array as the candidate is given it: floats rounded once to `dtype`."""
    # 32-bit indices in every cell: float64 is on trial in the x64 cells, not the width of a token.
    if np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int32)
    elif dtype_class(array.dtype) == "float":
        array = array.astype(dtype_of(dtype))
    return jnp.asarray(np.ascontiguousarray(array))
