"""Does the reference still compute what its goldens say? One golden of a case against another; reads no file.

The newer golden is judged as a candidate would be: in float64, by the budgets, value by value. Float64 of another
release or machine differs in its last digits, and that is no drift; a reference that computes something else is.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from paritygate.core.budget import Budgets
from paritygate.core.cell import Mode
from paritygate.core.drift import Drift, Row, Verdict
from paritygate.core.family import Family
from paritygate.core.golden import Golden, GoldenPort, TensorRef
from paritygate.judge.decide import judge
from paritygate.metrics.measure import measure

Key = tuple[str, str, int]  # site, port, call
Tensor = Callable[[TensorRef], np.ndarray]

CELL = "f64/single/cpu"
METRIC = "rel_l2"


@dataclass(frozen=True)
class Recaptured:
    """What became of one case: a row for each value of the old golden, and what the manifests say differently.

    `identical` counts values whose bits are the same. `floors_x` are, by dtype policy, the smallest and the largest
    quotient of a new noise floor and the old one.
    """

    case: str
    rows: tuple[Row, ...]
    identical: int
    differences: tuple[str, ...] = ()
    floors_x: dict[str, tuple[float, float]] | None = None

    @property
    def moved(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict is not Verdict.PASS)

    @property
    def ok(self) -> bool:
        return bool(self.rows) and not self.moved and not self.differences


def recaptured(
    old: Golden, new: Golden, family: Family, budgets: Budgets, tensor_old: Tensor, tensor_new: Tensor
) -> Recaptured:
    """Compares two goldens of one case. A value that the new one lacks is `missing`."""
    case, again = old.case, {_key(port): port for port in new.ports}
    prompt = family.prompt(case.prompt)
    calls = {site.name: site for site in family.sites_for(family.preset(case.preset), prompt)}
    mask = tensor_old(old.inputs["attention_mask"])
    ports = [replace(port, modes=(_mode(port),)) for port in old.ports if port.modes and not port.is_input]
    drifts, identical = [], 0
    for port in ports:
        if (other := again.get(_key(port))) is None:
            continue
        identical += other.tensor == port.tensor
        start, end = prompt.span(calls[port.site], port.call) if port.site in calls else (0, mask.shape[1])
        value = tensor_new(other.tensor)
        found = measure(
            tensor_old(port.tensor),
            value,
            kind=port.kind,
            role=port.role,
            layout=port.layout,
            real=mask[:, start:end].astype(bool),
        )
        drifts.append(
            Drift(
                case.id, CELL, port.modes[0], port.site, port.port, port.call, port.order, str(port.kind), port.layout,
                value.shape, value.dtype.name, found.metrics, found.scale, found.nonfinite, found.worst, found.where,
                found.histogram, problem=found.problem, detail=found.detail,
            )
        )  # fmt: skip
    rows = judge(drifts, {case.id: replace(old, ports=tuple(ports))}, [CELL], tuple(Mode), budgets, {})
    return Recaptured(case.id, tuple(rows), identical, tuple(_differences(old, new)), _floors(old, again))


def _key(port: GoldenPort) -> Key:
    return (port.site, port.port, port.call)


def _mode(port: GoldenPort) -> Mode:
    """The reference's value is one, whatever a candidate is replayed in: it is judged as of the whole model."""
    return Mode.CHAINED if Mode.CHAINED in port.modes else port.modes[0]


def _differences(old: Golden, new: Golden) -> Iterator[str]:
    """What makes another case of it, or another computation, apart from its values."""
    for noun, one, other in (("input", old.inputs, new.inputs), ("weight", old.weights, new.weights)):
        changed = [name for name in one if name in other and one[name] != other[name]]
        yield from _listed(f"{noun}s of other values", changed)
        yield from _listed(f"{noun}s that are gone", [name for name in one if name not in other])
        yield from _listed(f"new {noun}s", [name for name in other if name not in one])
    if old.spec != new.spec:
        yield "captured of another spec: the family has changed in between"
    if old.computation and new.computation:
        yield from _listed(
            "parts that no longer run", [part for part in old.computation if part not in new.computation]
        )
        yield from _listed("parts that did not run before", [p for p in new.computation if p not in old.computation])
    known = {_key(port) for port in old.ports}
    yield from _listed("new values", [port.address for port in new.ports if _key(port) not in known])


def _listed(what: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield f"{what}: {', '.join(name or '(the whole model)' for name in names[:4])}{more}"


def _floors(old: Golden, again: dict[Key, GoldenPort]) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for port in old.ports:
        other = again.get(_key(port))
        for mode, policies in port.floors.items():
            for policy, floors in policies.items():
                now = other.floors.get(mode, {}).get(policy, {}).get(METRIC) if other else None
                if now and floors.get(METRIC):
                    found.setdefault(policy, []).append(now / floors[METRIC])
    return {policy: (min(ratios), max(ratios)) for policy, ratios in sorted(found.items())}


def diagnoses(found: list[Recaptured]) -> Counter[str]:
    """How many values of all cases moved, by site."""
    return Counter(row.drift.site for each in found for row in each.moved)
