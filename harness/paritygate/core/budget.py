"""Allowed drift, as a factor on the noise floor, each rule with its reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Budget:
    """One rule of `golden/budgets.toml`; the first rule that fits a row's metric decides, top to bottom.

    A rule fits where `metric` is equal, the patterns `case`, `dtype`, `mode`, `site`, `port` and `kind` (that of the
    site) match (fnmatch), the value has fewer elements than `values_below` (0: any number), and the cell's platform is
    one of `platforms` (none: any).
    The row passes where value / max(floor, minimum) <= factor, minimum being `minimum_eps_x` unit roundoffs of the
    dtype that the reference has at the port, times the golden's largest magnitude for metrics in absolute units.
    `limit` replaces all that by a fixed bound on the value, for the oracle's own dtype and for choices.
    The metric `tail` is the fraction of a float's elements that differ by `beyond_eps_x` roundoffs or more, a power of
    two, as its histogram counts them; it is judged by a `limit`. A fitted rule carries its evidence: `largest` is the
    largest ρ of `rows` values of the reference's harmless variants.
    """

    name: str
    metric: str
    reason: str
    factor: float = 0.0
    minimum_eps_x: float = 0.0
    limit: float | None = None
    dtype: str = "*"
    mode: str = "*"
    site: str = "*"
    port: str = "*"
    case: str = "*"
    beyond_eps_x: float = 0.0
    kind: str = "*"
    values_below: int = 0
    platforms: tuple[str, ...] = ()
    rows: int = 0
    largest: float = 0.0

    def fits(
        self,
        metric: str,
        dtype: str,
        mode: str,
        site: str,
        port: str,
        case: str,
        kind: str = "",
        values: int = 0,
        platform: str = "",
    ) -> bool:
        patterns = (self.dtype, self.mode, self.site, self.port, self.case, self.kind)
        fewer = not self.values_below or values < self.values_below
        there = not self.platforms or platform in self.platforms
        named = (dtype, mode, site, port, case, kind)
        return self.metric == metric and fewer and there and all(map(fnmatchcase, named, patterns))


@dataclass(frozen=True)
class BaselineRule:
    """How far a row may move from its accepted drift before it counts as regressed."""

    factor: float
    reason: str


@dataclass(frozen=True)
class Draw:
    """How far one harmless variant of the reference is from the oracle at one value, beside that value's floor.

    `seed` tells draws of weights and tokens apart, 0 being the goldens' own; `values` counts the elements; `unit` is
    one unit roundoff of the dtype at the port, times the golden's largest magnitude for metrics in absolute units.
    """

    seed: int
    case: str
    variant: str
    dtype: str
    mode: str
    site: str
    port: str
    call: int
    values: int
    metric: str
    drift: float
    floor: float
    unit: float


@dataclass(frozen=True)
class Fitted:
    """The part of `budgets.toml` that `budget fit` writes: rules, and what they were estimated from.

    `seeds` counts the draws of weights and tokens, the goldens' own among them.
    """

    rules: tuple[Budget, ...]
    reason: str
    suites: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: int


@dataclass(frozen=True)
class Budgets:
    """The whole of `budgets.toml`: `rules` by hand decide first, then those fitted, then the `fallback`.

    `kinds` maps a kind of site to the patterns of the sites' names; the first that matches counts.
    """

    rules: tuple[Budget, ...]
    baseline: BaselineRule
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fitted: Fitted | None = None
    fallback: tuple[Budget, ...] = ()

    @property
    def ordered(self) -> tuple[Budget, ...]:
        """Every rule in the order in which they decide: those of some platforms before those of any."""
        return in_order((*self.rules, *(self.fitted.rules if self.fitted else ()), *self.fallback))

    def kind(self, site: str) -> str:
        """The kind of a site; empty where no pattern matches."""
        fitting = (kind for kind, patterns in self.kinds.items() if any(fnmatchcase(site, p) for p in patterns))
        return next(fitting, "")


def in_order(rules: Iterable[Budget]) -> tuple[Budget, ...]:
    """Those of some platforms before those of any, else as they are."""
    return tuple(sorted(rules, key=lambda rule: not rule.platforms))


@dataclass(frozen=True)
class Accepted:
    """One line of a baseline: the drift of one row that a person accepted, and why.

    `shares` are the parts of the budgets of that day that it used, by metric; `digest` is that of the value's bits.
    """

    case: str
    cell: str
    mode: str
    site: str
    port: str
    call: int
    metrics: dict[str, float]
    verdict: str
    reason: str
    run: str
    date: str
    shares: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        return (self.case, self.cell, self.mode, self.site, self.port, self.call)


@dataclass(frozen=True)
class Proposal:
    """A line of a baseline that would be written, and the one that it would replace, if any."""

    before: Accepted | None
    after: Accepted


@dataclass(frozen=True)
class Approval:
    """One act of accepting drifts. A line of `golden/audit.jsonl`, to which lines are only ever added.

    `lines` are the hashes of the baseline lines that it wrote; `before` and `after` those of all baseline files, empty
    where there was none. `when` is in UTC.
    """

    when: str
    who: str
    run: str
    select: str
    reason: str
    rows: int
    lines: tuple[str, ...]
    before: str
    after: str
