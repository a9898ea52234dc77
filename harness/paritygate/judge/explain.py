"""Which hypothesis makes a difference vanish: the candidate's values against those of the reference under each.

Reads and writes nothing. What agrees is what the budgets of the cell let pass.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from paritygate.core.budget import Budgets
from paritygate.core.cell import Mode
from paritygate.core.drift import Drift, Verdict
from paritygate.core.family import Family
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.hypothesis import Counterfactual, Explanation, Hypothesis
from paritygate.judge.decide import judge
from paritygate.metrics.measure import measure

Key = tuple[str, str, int]  # site, port, call
Values = Mapping[Key, np.ndarray]


@dataclass(frozen=True)
class Shown:
    """What the candidate shows of one case in a float64 cell and a mode; `mask` is the case's attention mask."""

    golden: Golden
    family: Family
    cell: str
    mode: Mode
    budgets: Budgets
    mask: np.ndarray
    values: Values

    @cached_property
    def ports(self) -> dict[Key, GoldenPort]:
        """The golden's ports of these values, in production order."""
        return {key: port for port in self.golden.ports if (key := (port.site, port.port, port.call)) in self.values}

    @cached_property
    def _spans(self) -> dict[tuple[str, int], tuple[int, int]]:
        case = self.golden.case
        prompt = self.family.prompt(case.prompt)
        sites = self.family.sites_for(self.family.preset(case.preset), prompt)
        return {(site.name, call): prompt.span(site, call) for site in sites for call in range(site.calls)}

    def agreeing(self, expected: Values, of: Collection[Key]) -> set[Key]:
        """Those of the keys at which the candidate agrees with `expected`; never where one side shows nothing."""
        drifts, ports = [], []
        for key in of:
            if key not in expected or key not in self.ports:
                continue
            port, value = self.ports[key], self.values[key]
            start, end = self._spans[port.site, port.call]
            real = self.mask[:, start:end].astype(bool)
            found = measure(expected[key], value, kind=port.kind, role=port.role, layout=port.layout, real=real)
            drifts.append(
                Drift(
                    self.golden.case.id, self.cell, self.mode, port.site, port.port, port.call, port.order,
                    port.kind, port.layout, value.shape, value.dtype.name, found.metrics, found.scale,
                    found.nonfinite, problem=found.problem, detail=found.detail,
                )
            )  # fmt: skip
            ports.append(port)
        golden = replace(self.golden, ports=tuple(ports))
        rows = judge(drifts, {golden.case.id: golden}, [self.cell], [self.mode], self.budgets, {})
        return {(r.drift.site, r.drift.port, r.drift.call) for r in rows if r.verdict is Verdict.PASS}


def explain(
    shown: Shown,
    golden: Values,
    blamed: GoldenPort,
    hypotheses: Iterable[Hypothesis],
    under: Callable[[Hypothesis], Values],
) -> Counterfactual:
    """The hypotheses under which the blamed value agrees, and the first one of the mode that differs from the golden.

    `under` gives the reference's values if a hypothesis is so. Those that concern the blamed site are tried first, and
    the others only where none of them explains everything.
    """
    keys = list(shown.ports)
    without = shown.agreeing(golden, keys)
    found = Counterfactual(shown.golden.case.id, shown.cell, shown.mode, blamed.address, len(keys), len(without))
    wrong = [key for key in keys if key not in without]
    if not wrong:
        return replace(found, reason="every value that was kept agrees with the golden")
    own = (blamed.site, blamed.port, blamed.call)
    places = {wrong[0]} | ({own} & set(wrong))
    sites = {site for site, _, _ in places} | {blamed.site}
    hypotheses = list(hypotheses)
    near = [each for each in hypotheses if any(map(each.concerns, sites))]
    tried, explanations = 0, list[Explanation]()
    for group in (near, [each for each in hypotheses if each not in near]):
        for each in group:
            tried += 1
            values = under(each)
            if shown.agreeing(values, places) == places:
                explanations.append(Explanation(each.name, each.says, len(shown.agreeing(values, keys))))
        if any(explanation.agreed == len(keys) for explanation in explanations):
            break
    most = max((explanation.agreed for explanation in explanations), default=0)
    best = [explanation for explanation in explanations if explanation.agreed == most > len(without)]
    return replace(found, tried=tried, explanations=tuple(best))
