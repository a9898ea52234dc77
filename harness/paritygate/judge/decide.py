"""Drifts and goldens → judged rows: each expected value gets one verdict. Reads and writes nothing.

What is expected comes from the goldens, never from what was measured, so that a value nobody measured is `missing`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from paritygate.catalog.select import layout_of
from paritygate.core.budget import Accepted, Budget, Budgets
from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.decision import Decided, Excuse
from paritygate.core.drift import APART, Drift, Judgement, Reassociated, Row, Verdict
from paritygate.core.errors import unknown_name
from paritygate.core.family import Family
from paritygate.core.golden import GRADIENTS, Golden, GoldenPort
from paritygate.core.histogram import TAIL, Histogram
from paritygate.core.registry import discover
from paritygate.core.run import Skip
from paritygate.core.site import Kind
from paritygate.judge.decisions import CHOICES, SCORED_BY, SKIPS, TOP_TOKEN, excused, refusal, refuse_what_follows
from paritygate.judge.diagnose import diagnose
from paritygate.judge.evidence import with_evidence
from paritygate.metrics.base import LARGEST, Metric, metrics, quotient, unit_roundoff

Key = tuple[str, str, str, str, str, int]
_PROBLEMS = (Verdict.NONFINITE, Verdict.MISMATCH, Verdict.MISSING, Verdict.ERROR)


def judge(
    drifts: Iterable[Drift],
    goldens: Mapping[str, Golden],
    cells: Sequence[str],
    modes: Sequence[str],
    budgets: Budgets,
    accepted: Mapping[Key, Accepted],
    policies: Mapping[str, DtypePolicy] | None = None,
    skipped: Sequence[Skip] = (),
) -> list[Row]:
    """One row per value of the goldens (inputs left out), cell and mode, by case, cell, mode and production order.

    `goldens` is by case id, `accepted` by row key; `policies` are the dtype policies by name, by default those of the
    catalog, `skipped` what the run left out before it began. A measured value that no golden asks for is an error row.
    Raises UsageError on an unknown dtype or mode.
    """
    policies = discover("paritygate.catalog.dtypes", "POLICY", DtypePolicy) if policies is None else policies
    policy_of = {}
    for cell in cells:
        dtype = Cell.parse(cell).dtype
        if dtype not in policies:
            raise unknown_name("dtype policy", dtype, sorted(policies))
        policy_of[cell] = policies[dtype]
    for mode in modes:
        if mode not in tuple(Mode):
            raise unknown_name("mode", mode, [str(m) for m in Mode])

    measured: dict[Key, list[Drift]] = {}
    for drift in drifts:
        measured.setdefault(drift.key, []).append(drift)

    known = discover("paritygate.catalog.families", "FAMILY", Family)
    decider = _Decider(budgets, accepted, goldens, known)
    left_out = {(case, each.cell): each.reason for each in skipped for case in ([each.case] if each.case else goldens)}
    rows: list[Row] = []
    for case, golden in goldens.items():
        for port in (port for port in golden.ports if not port.is_input):
            for cell, policy in policy_of.items():
                for mode in (mode for mode in dict.fromkeys(modes) if mode in port.modes):
                    found = measured.pop((case, cell, mode, port.site, port.port, port.call), [])
                    if len(found) == 1:
                        rows.append(decider.row(found[0], port, policy))
                    elif found:
                        rows.append(_error(found[0], f"measured {len(found)} times"))
                    elif reason := left_out.get((case, cell), ""):
                        rows.append(Row(_unmeasured(case, cell, mode, port), Verdict.SKIPPED, reason=reason))
                    else:
                        reason = "the replay wrote no value"
                        rows.append(Row(_unmeasured(case, cell, mode, port), Verdict.MISSING, reason=reason))
    rows += [
        _error(found[0], "measured, but no golden of this run asks for it in this cell and mode")
        for found in measured.values()
    ]
    rows = refuse_what_follows(rows)
    rows = [replace(row, baseline=accepted[key].run) if (key := row.drift.key) in accepted else row for row in rows]
    rows.sort(key=lambda row: (row.drift.case, row.drift.cell, row.drift.mode, row.drift.order, row.drift.key))
    rows = diagnose(rows, oracles={name for name, policy in policies.items() if not policy.peer})
    return with_evidence(rows, goldens, known, {cell: layout_of(Cell.parse(cell).mesh) for cell in cells})


def _unmeasured(case: str, cell: str, mode: str, port: GoldenPort) -> Drift:
    return Drift(
        case, cell, mode, port.site, port.port, port.call, port.order, str(port.kind), port.layout,
        shape=port.tensor.shape, dtype="",
    )  # fmt: skip


def _error(drift: Drift, reason: str) -> Row:
    numbers = {name: value for name, value in drift.metrics.items() if math.isfinite(value)}
    return Row(replace(drift, metrics=numbers), Verdict.ERROR, reason=reason)


@dataclass(frozen=True)
class Bound:
    """A judged metric with what decided it, and the drift that the baseline accepted, if it did."""

    judgement: Judgement
    accepted: float | None
    least: float  # drifts up to here are rounding: they never count as a regression

    def is_regressed(self, factor: float) -> bool:
        return self.accepted is not None and self.judgement.value > max(self.accepted, self.least) * factor

    def is_accepted(self, factor: float) -> bool:
        return self.accepted is not None and self.judgement.value <= self.accepted * factor


class _Decider:
    """Budgets and baseline, applied to one drift at a time."""

    def __init__(
        self,
        budgets: Budgets,
        accepted: Mapping[Key, Accepted],
        goldens: Mapping[str, Golden],
        known: Mapping[str, Family],
    ):
        self.budgets, self.accepted, self.metrics = budgets, accepted, metrics()
        self.roles = {case: _roles(golden, known.get(golden.case.family)) for case, golden in goldens.items()}
        self.ports = {
            (case, port.site, port.port, port.call): port for case, golden in goldens.items() for port in golden.ports
        }
        self.ordered, self.rules = budgets.ordered, dict[tuple[str | int, ...], Budget | None]()

    def rule(self, metric: str, drift: Drift, policy: DtypePolicy) -> Budget | None:
        """The first rule that fits. One that needs a floor does not fit the oracle's own dtype, which has none."""
        kind, values = self.budgets.kind(drift.site), math.prod(drift.shape)
        rest = (drift.mode, drift.site, drift.port, drift.case, kind, values, Cell.parse(drift.cell).platform)
        key = (metric, policy.name, *rest)
        if key not in self.rules:
            fitting = (
                rule
                for rule in self.ordered
                if any(rule.fits(metric, dtype, *rest) for dtype in (policy.name, policy.plain))
                and (rule.limit is not None or policy.peer)
            )
            self.rules[key] = next(fitting, None)
        return self.rules[key]

    def row(self, drift: Drift, port: GoldenPort, policy: DtypePolicy) -> Row:
        if drift.problem:
            if drift.problem in _PROBLEMS:
                return Row(drift, Verdict(drift.problem), reason=drift.detail or "the replay gave no reason")
            if drift.problem in SKIPS:
                return Row(drift, Verdict.SKIPPED, reason=drift.detail)
            return _error(drift, f"unknown problem {drift.problem!r}: {drift.detail}")
        if drift.placement:
            return Row(drift, Verdict.MISMATCH, reason=drift.placement)
        if drift.nonfinite:
            return Row(drift, Verdict.NONFINITE, reason=f"{drift.nonfinite} values are not finite")
        if bad := sorted(name for name, value in drift.metrics.items() if not math.isfinite(value)):
            return _error(drift, f"not a number: {', '.join(bad)}")

        role = "param" if port.site == GRADIENTS else self.roles[drift.case].get((port.site, port.port), "compute")
        named = policy.roles.get(role, "") if role != "compute" else ""
        expected = named or (port.dtypes.get(policy.plain, "") if policy.peer else policy.compute)
        if port.kind is Kind.FLOAT and expected not in ("", drift.dtype):
            who = f"{policy.name} keeps {role} in" if named else "the reference in this cell has"
            reason = f"computed in {drift.dtype}, where {who} {expected}"
            return Row(drift, Verdict.MISMATCH, reason=reason)

        line = self.accepted.get(drift.key)
        excuse = self.excuse(drift, policy)
        bounds: list[Bound] = []
        for name, metric in self.metrics.items():
            rule = self.rule(name, drift, policy) if metric.applies(port.kind, port.role) else None
            if rule is None:
                continue
            if name not in drift.metrics:
                return _error(drift, f"{name} was not measured, and rule {rule.name!r} judges it")
            if name == TOP_TOKEN and drift.decided is None and policy.peer:
                return _error(drift, f"its run kept no choices, and rule {rule.name!r} judges them: replay it again")
            if name in CHOICES and drift.decided is not None:
                bounds.append(_choice(name, drift.decided, excuse, rule, line))
                continue
            floor = self.floors(drift, port, policy).get(name)
            if rule.limit is None and floor is None:
                return _error(drift, f"no floor for {name} of {policy.name}, {drift.mode}: paritygate golden floors")
            bounds.append(_bound(drift, metric, rule, floor, expected or policy.compute, line))
        if port.kind is Kind.FLOAT and (rule := self.rule(TAIL, drift, policy)):
            if drift.histogram is None and drift.worst:
                return _error(drift, f"its run kept no histogram, and rule {rule.name!r} judges it: replay it again")
            bounds.append(_tail(drift.histogram, rule, line))
        if drift.reassociated is not None and policy.peer:
            bounds.append(_apart(drift.reassociated, line))
        if not bounds:
            return _error(drift, f"no rule of the budgets judges a {port.kind} of {policy.name} here")
        return standing(drift, bounds, line, excuse, self.budgets.baseline.factor)

    def floors(self, drift: Drift, port: GoldenPort, policy: DtypePolicy) -> Mapping[str, float]:
        """The peer's drifts at a port; behind a flip, those over the tokens that the value was compared over."""
        own = drift.agreeing.floors if drift.agreeing is not None else {}
        return own or port.floor(drift.mode, policy.judged_as, Cell.parse(drift.cell).platform)

    def excuse(self, drift: Drift, policy: DtypePolicy) -> Excuse | None:
        """What becomes of a choice's flips, by what the budgets allow the scores that it is made by."""
        if drift.decided is None or not drift.decided.flips:
            return None
        name = drift.decided.scores
        scores = self.ports.get((drift.case, drift.site, name, drift.call))
        if scores is None:
            return excused(drift.decided, 0.0)
        rule = self.rule(SCORED_BY, replace(drift, port=name, shape=scores.tensor.shape), policy)
        if rule is None:
            return excused(drift.decided, 0.0)
        dtype = (scores.dtypes.get(policy.plain, "") if policy.peer else "") or policy.compute
        floor = scores.floor(drift.mode, policy.judged_as, Cell.parse(drift.cell).platform).get(SCORED_BY, 0.0)
        least = rule.minimum_eps_x * unit_roundoff(dtype)
        return excused(drift.decided, rule.limit if rule.limit is not None else rule.factor * max(floor, least))


def standing(drift: Drift, bounds: Sequence[Bound], line: Accepted | None, excuse: Excuse | None, factor: float) -> Row:
    """What a value that was judged is, by its budgets and by what was accepted of it: `line`, up to `factor` times."""
    judgements, known = tuple(bound.judgement for bound in bounds), metrics()
    over = [bound for bound in bounds if not bound.judgement.ok]
    if worse := [bound for bound in bounds if bound.is_regressed(factor)]:
        run = line.run if line else ""
        reason = "; ".join(_regression(known, bound, factor, run) for bound in worse)
        return Row(drift, Verdict.REGRESSED, judgements=judgements, reason=reason, excuse=excuse)
    if not over:
        return Row(drift, Verdict.PASS, judgements=judgements, excuse=excuse)
    reason = "; ".join(
        refusal(drift.decided, excuse)
        if drift.decided and excuse and bound.judgement.metric in CHOICES
        else _excess(known, bound.judgement)
        for bound in over
    )
    if line is not None and all(bound.is_accepted(factor) for bound in over):
        return Row(drift, Verdict.PASS, judgements=judgements, reason=reason, accepted=line.reason, excuse=excuse)
    return Row(drift, Verdict.OVER_BUDGET, judgements=judgements, reason=reason, excuse=excuse)


def _roles(golden: Golden, family: Family | None) -> dict[tuple[str, str], str]:
    """The role of the dtype of each port, by site and port, where its family is known."""
    preset = next((p for p in family.presets if p.name == golden.case.preset), None) if family else None
    sites = family.sites_of(preset) if family and preset else []
    return {(site.name, port.name): port.numerics for site in sites for port in site.ports}


def _bound(drift: Drift, metric: Metric, rule: Budget, floor: float | None, dtype: str, line: Accepted | None) -> Bound:
    value = metric.drift(drift.metrics[metric.name])
    accepted = metric.drift(line.metrics[metric.name]) if line and metric.name in line.metrics else None
    if rule.limit is not None:
        judgement = Judgement(metric.name, value, 0.0, 0.0, value, rule.limit, rule.name, value <= rule.limit)
        return Bound(judgement, accepted, least=rule.limit)
    assert floor is not None, "a rule with a factor is applied only where there is a floor"
    minimum = rule.minimum_eps_x * unit_roundoff(dtype) * (drift.scale if metric.absolute else 1.0)
    floor = metric.drift(floor)
    # The candidate's own noise is independent of the reference's rounding, so the two add in quadrature. It counts for
    # at most as much as the floor, and never against a fixed limit: what is mostly noise must not pass by it.
    noise = min(drift.noise.get(metric.name, 0.0), max(floor, minimum))
    ratio = quotient(value, math.hypot(max(floor, minimum), noise))
    ok = ratio <= rule.factor
    return Bound(
        Judgement(metric.name, value, floor, minimum, ratio, rule.factor, rule.name, ok, noise), accepted, least=minimum
    )


def _choice(metric: str, decided: Decided, excuse: Excuse | None, rule: Budget, line: Accepted | None) -> Bound:
    """The fraction of the tokens that chose otherwise without an excuse."""
    assert rule.limit is not None, "a choice has no floor"
    value = excuse.refused / decided.tokens if excuse is not None else 0.0
    judgement = Judgement(metric, value, 0.0, 0.0, value, rule.limit, rule.name, value <= rule.limit)
    return Bound(judgement, 1.0 - line.metrics[metric] if line and metric in line.metrics else None, least=rule.limit)


def _tail(histogram: Histogram | None, rule: Budget, line: Accepted | None) -> Bound:
    assert rule.limit is not None, "the budgets are read with a limit for each tail"
    value = histogram.beyond(math.frexp(rule.beyond_eps_x)[1] - 1) if histogram else 0.0
    judgement = Judgement(TAIL, value, 0.0, 0.0, value, rule.limit, rule.name, value <= rule.limit)
    return Bound(judgement, line.metrics.get(TAIL) if line else None, least=rule.limit)


def _apart(found: Reassociated, line: Accepted | None) -> Bound:
    """The difference to one device, up to what other orders of the same sums make."""
    apart, most = found.apart, found.bound
    judgement = Judgement(APART, apart, 0.0, 0.0, apart, most, "re-association", apart <= most)
    return Bound(judgement, line.metrics.get(APART) if line else None, least=most)


def _label(known: Mapping[str, Metric], metric: str) -> str:
    return metric if metric in (TAIL, APART) or known[metric].better == "lower" else f"1 - {metric}"


def _excess(known: Mapping[str, Metric], judgement: Judgement) -> str:
    """`rel_l2 3.57× the noise 2.3e-03 (limit 2×, rule 'low-rel_l2')`."""
    label = _label(known, judgement.metric)
    if judgement.metric == APART:
        most = f"{judgement.limit:.2g}, the most that other orders of its sums make"
        return f"{judgement.value:.2g} from what one device gives (limit {most})"
    if judgement.ratio == judgement.value:  # a fixed limit
        return f"{label} {judgement.value:.2g} (limit {judgement.limit:.2g}, rule {judgement.rule!r})"
    pairs = (("noise", judgement.floor), ("rounding floor", judgement.minimum))
    name, base = max(pairs, key=lambda pair: pair[1])
    if judgement.noise:
        name, base = f"{name} and its own noise", math.hypot(base, judgement.noise)
    times = f"{judgement.ratio:.3g}×" if judgement.ratio < LARGEST else "infinitely many times"
    return f"{label} {times} the {name} {base:.2g} (limit {judgement.limit:.3g}×, rule {judgement.rule!r})"


def _regression(known: Mapping[str, Metric], bound: Bound, factor: float, run: str) -> str:
    label, accepted = _label(known, bound.judgement.metric), bound.accepted
    return (
        f"{label} {bound.judgement.value:.2g} is more than {factor:.3g} × the {accepted:.2g} that was accepted in {run}"
    )
