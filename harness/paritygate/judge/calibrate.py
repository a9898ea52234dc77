"""Limits from evidence: how far the reference's harmless variants are from the noise floors → fitted rules.

Reads and writes nothing.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import NormalDist

from paritygate.core.budget import Budget, Budgets, Draw
from paritygate.metrics.base import quotient

Group = tuple[str, str, str, str, float]  # kind, dtype, mode, metric, minimum
Row = tuple[int, str, str, str, int]

# The share of a right port's values that may fail: one in ten million. Twenty seeds of all suites make one million.
ALARMS = 1e-7
# No limit is below this: where all variants are the peer to the last bit, another compiler's last bits are not.
LEAST = 1.1
# Of fewer values the largest says too little.
FEWEST = 30
# Tensors of fewer elements than each of these are looked at by themselves.
SIZES = (16, 128, 1024)


def factor_of(rows: int, largest: float) -> float:
    """The limit on ρ where `largest` is the largest of `rows` values of harmless variants.

    log ρ is taken as normal about 0, so that the largest of n draws is at its 1 - 1/(n + 1) quantile; the limit is at
    the 1 - ALARMS quantile of the same normal, rounded up to hundredths. Fewer draws thus give a wider limit.
    """
    seen, allowed = (NormalDist().inv_cdf(1 - share) for share in (1 / (rows + 1), ALARMS))
    factor = max(largest, 1.0) ** (allowed / seen)
    return max(math.ceil(round(factor * 100, 6)) / 100, LEAST)


def calibrated(draws: Iterable[Draw], budgets: Budgets) -> list[Budget]:
    """A rule for each kind of site, dtype, mode and metric that the fallback judges and no rule by hand does.

    Small tensors have a rule of their own, with a wider limit, where their variants are farther from the noise than
    those of larger ones.
    """
    groups: dict[Group, dict[int, dict[Row, float]]] = defaultdict(lambda: defaultdict(dict))
    for draw in draws:
        kind = budgets.kind(draw.site)
        key = (draw.metric, draw.dtype, draw.mode, draw.site, draw.port, draw.case, kind, draw.values)
        if not kind or any(rule.limit is None and rule.fits(*key) for rule in budgets.rules):
            continue
        rule = next((rule for rule in budgets.fallback if rule.limit is None and rule.fits(*key)), None)
        if rule is None:
            continue
        ratio = quotient(draw.drift, max(draw.floor, rule.minimum_eps_x * draw.unit))
        size = next((bound for bound in SIZES if draw.values < bound), 0)
        row = (draw.seed, draw.case, draw.site, draw.port, draw.call)
        rows = groups[kind, draw.dtype, draw.mode, draw.metric, rule.minimum_eps_x][size]
        rows[row] = max(ratio, rows.get(row, 0.0))
    found = []
    for group in sorted(groups):
        found += _by_size(group, {size: list(rows.values()) for size, rows in groups[group].items()})
    return found


def _by_size(group: Group, sizes: Mapping[int, list[float]]) -> list[Budget]:
    """The rules of one group, those for the smallest tensors first."""
    pools: list[tuple[int, list[float]]] = []  # largest tensors first
    for size in sorted(sizes, key=lambda size: size or math.inf, reverse=True):
        rows = sizes[size]
        if not pools:
            pools.append((0, list(rows)))
        # Only evidence widens: what is no farther than larger tensors, or too little, is judged with them.
        elif min(len(rows), len(pools[-1][1])) < FEWEST or max(rows) <= max(pools[-1][1]):
            pools[-1][1].extend(rows)
        else:
            pools.append((size, list(rows)))
    kind, dtype, mode, metric, minimum = group
    return [
        Budget(
            fitted_name(kind, dtype, mode, metric, size), metric, "", factor=factor_of(len(rows), largest),
            minimum_eps_x=minimum, dtype=dtype, mode=mode, kind=kind, values_below=size,
            rows=len(rows), largest=largest,
        )
        for size, rows, largest in ((size, rows, _kept(max(rows))) for size, rows in reversed(pools))
        if len(rows) >= FEWEST
    ]  # fmt: skip


def _kept(ratio: float) -> float:
    """As it is written: three decimals, upwards."""
    return math.ceil(ratio * 1000) / 1000


def fitted_name(kind: str, dtype: str, mode: str, metric: str, values_below: int = 0) -> str:
    """`norm-bf16-isolated-rel_l2`, with `-below-128` where it is for small tensors."""
    return f"{kind}-{dtype}-{mode}-{metric}" + (f"-below-{values_below}" if values_below else "")
