"""Allowed drift, as a factor on the noise floor, each rule with its reason."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Budget:
    """One rule of `golden/budgets.toml`; the first rule that fits a row's metric decides, top to bottom.

    A rule fits where `metric` is equal and the patterns `case`, `dtype`, `mode`, `site` and `port` match (fnmatch).
    The row passes where value / max(floor, minimum) <= factor, minimum being `minimum_eps_x` unit roundoffs of the
    dtype that the reference has at the port, times the golden's largest magnitude for metrics in absolute units.
    `limit` replaces all that by a fixed bound on the value, for the oracle's own dtype and for choices.
    The metric `tail` is the fraction of a float's elements that differ by `beyond_eps_x` roundoffs or more, a power of
    two, as its histogram counts them; it is judged by a `limit`.
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

    def fits(self, metric: str, dtype: str, mode: str, site: str, port: str, case: str) -> bool:
        patterns = (self.dtype, self.mode, self.site, self.port, self.case)
        return self.metric == metric and all(map(fnmatchcase, (dtype, mode, site, port, case), patterns))


@dataclass(frozen=True)
class BaselineRule:
    """How far a row may move from its accepted drift before it counts as regressed."""

    factor: float
    reason: str


@dataclass(frozen=True)
class Budgets:
    """The whole of `budgets.toml`."""

    rules: tuple[Budget, ...]
    baseline: BaselineRule


@dataclass(frozen=True)
class Accepted:
    """One line of a baseline: the drift of one row that a person accepted, and why."""

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

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        return (self.case, self.cell, self.mode, self.site, self.port, self.call)
