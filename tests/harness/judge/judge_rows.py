"""Rows, drifts and goldens made by hand, with only what a test says filled in."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from paritygate.core.budget import Accepted, BaselineRule, Budget, Budgets
from paritygate.core.cell import Mode
from paritygate.core.drift import Drift, Judgement, Row, Verdict
from paritygate.core.family import Case
from paritygate.core.golden import Golden, GoldenPort, TensorRef
from paritygate.core.site import Kind
from paritygate.judge.decide import judge

CASE = "toy.short"
F64, F32, BF16 = "f64/single/cpu", "f32/single/cpu", "bf16/single/cpu"
BOTH = (Mode.ISOLATED, Mode.CHAINED)

# Powers of two, so that ratios are exact.
BUDGETS = Budgets(
    rules=(
        Budget("fixed", "rel_l2", "r", limit=2.0**-40, dtype="f64"),
        Budget("low", "rel_l2", "r", factor=2.0, minimum_eps_x=0.5),
        Budget("largest", "max_abs", "r", factor=4.0, minimum_eps_x=0.5, dtype="[!f]*"),
        Budget("choice", "agreement", "r", limit=0.0),
    ),
    baseline=BaselineRule(1.25, "r"),
)


def split(address: str) -> tuple[str, str, int]:
    name, _, call = address.partition("#")
    site, _, port = name.partition(":")
    return site, port or "out", int(call or 0)


def drift(address: str = "a:out", cell: str = F64, mode: str = "isolated", order: int = 0, **fields: Any) -> Drift:
    site, port, call = split(address)
    values: dict[str, Any] = {"kind": "float", "layout": "B T D", "shape": (2, 3, 4), "dtype": "float64"} | fields
    return Drift(values.pop("case", CASE), cell, mode, site, port, call, order, **values)


def row(
    address: str = "a:out",
    verdict: Verdict = Verdict.OVER_BUDGET,
    *,
    cell: str = F64,
    mode: str = "isolated",
    order: int = 0,
    share: float | None = None,
    reason: str = "",
    accepted: str = "",
    **fields: Any,
) -> Row:
    """A row; `share` gives it one judgement that uses that part of its budget."""
    judgements = ()
    if share is not None:
        judgements = (Judgement("rel_l2", share * 2.0, 1.0, 0.0, share * 2.0, 2.0, "low", share <= 1.0),)
        fields.setdefault("metrics", {"rel_l2": share * 2.0})
    return Row(
        drift(address, cell, mode, order, **fields), verdict, judgements=judgements, reason=reason, accepted=accepted
    )


def port(address: str = "a:out", order: int = 0, kind: Kind = Kind.FLOAT, **fields: Any) -> GoldenPort:
    site, name, call = split(address)
    values: dict[str, Any] = {"modes": BOTH} | fields
    return GoldenPort(site, name, call, kind, "B T D", order, TensorRef("0" * 64, "float64", (2, 3, 4)), **values)


def golden(*ports: GoldenPort) -> Golden:
    return Golden(Case.parse("toy", CASE), {}, {}, {}, ports, {}, {}, "")


def accepted(drift: Drift, reason: str = "known", **metrics: float) -> Accepted:
    return Accepted(*drift.key, metrics, "over_budget", reason, "run-1", "2026-01-02")


def matrix(
    addresses: Iterable[str],
    failing: Mapping[tuple[str, str], Collection[str]],
    absent: Collection[tuple[str, str, str]] = (),
) -> list[Row]:
    """Rows of `addresses`, given in production order, for each (cell, mode) of `failing`.

    Those it names are over budget, the others pass; a (cell, mode, address) of `absent` has no row.
    """
    return [
        row(
            address,
            Verdict.OVER_BUDGET if address in names else Verdict.PASS,
            cell=cell,
            mode=mode,
            order=order,
            reason="over" if address in names else "",
        )
        for (cell, mode), names in failing.items()
        for order, address in enumerate(addresses)
        if (cell, mode, address) not in absent
    ]


FLOOR = 2.0**-6
FLOORS = {m: {d: {"rel_l2": FLOOR, "max_abs": FLOOR} for d in ("bf16", "f32")} for m in ("isolated", "chained")}


def decide(*drifts, ports=None, cells=(BF16,), modes=("isolated",), budgets=BUDGETS, lines=()):
    ports = ports or (port(floors=FLOORS),)
    return judge(drifts, {CASE: golden(*ports)}, cells, modes, budgets, {line.key: line for line in lines})


def one(*args, **kwargs):
    (row,) = decide(*args, **kwargs)
    return row


def low(rel_l2=0.0, max_abs=0.0, **fields):
    return drift(cell=BF16, dtype="bfloat16", metrics={"rel_l2": rel_l2, "max_abs": max_abs}, **fields)
