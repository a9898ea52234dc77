"""Lines of results: what a replay measured at one port (Drift), and what the judge says of it (Row)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from paritygate.core.decision import Agreeing, Decided, Excuse
from paritygate.core.error_map import Edge, ErrorMap
from paritygate.core.golden import TensorRef
from paritygate.core.histogram import Histogram
from paritygate.core.ratios import Ratios
from paritygate.core.site import address
from paritygate.core.where import Where

APART = "apart"  # the metric of a difference to one device


class Verdict(StrEnum):
    """What a row is. Only `pass` and, where stated beforehand, `skipped` let a run pass."""

    PASS = "pass"  # within every budget, or accepted in a baseline
    OVER_BUDGET = "over_budget"  # a drift is larger than its budget
    REGRESSED = "regressed"  # larger than the baseline's accepted drift by more than its factor
    NONFINITE = "nonfinite"  # not finite where the golden is
    MISMATCH = "mismatch"  # another shape, kind of dtype or dtype, or laid on a mesh otherwise than promised
    MISSING = "missing"  # the candidate does not show it
    ERROR = "error"  # the candidate raised, or no rule judges it
    SKIPPED = "skipped"  # a cell that cannot be run here, with the reason, decided before anything ran


class Diagnosis(StrEnum):
    """Why a row is not a pass."""

    NONE = ""
    SEMANTIC = "semantic"  # the float64 cell differs too: the computation is another one
    PRECISION = "precision"  # only low-precision cells differ
    SHARDING = "sharding"  # only meshes differ
    PLATFORM = "platform"
    DECISION = "decision"  # a routing flip that the margin does not excuse
    PROPAGATED = "propagated"  # what is upstream of it, or inside it, is to blame


@dataclass(frozen=True)
class Element:
    """One element of a value: its index in the golden's layout, and both values."""

    index: tuple[int, ...]
    golden: float
    got: float


@dataclass(frozen=True)
class Reassociated:
    """How far a value on a mesh is `apart` from what one device gives, as rel_l2, and the `bound` on it.

    The bound is what other orders of the same sums, and other roundings of what is fused otherwise, may make of it.
    """

    apart: float
    bound: float


@dataclass(frozen=True)
class Drift:
    """What one replay measured at one port and call. Written to `drifts.jsonl` as it comes.

    `metrics` is empty where nothing could be measured; `problem` then says why: one of the verdicts `nonfinite`,
    `mismatch`, `missing`, `error`, or `forced` or `behind` (a flip at every token), with `detail` for a person. `where`
    are the parts of its axes that hold the difference, or what is not finite, the most telling first; none where it is
    everywhere, or too small to say.
    `histogram` counts the elements of a float by how much they differ; None where none does. `ratios` counts them by
    how many times the golden they are, where that tells something; `error_map` has the difference block by block, None
    where there is none. `noise` is the candidate's drift from itself in another pass, where it does not give the same
    bits each time, by metric of which
    less is better. `decided` compares a choice token by token; `agreeing` says over which tokens a value behind a flip
    was compared, None being all. `placement` says how a value on a mesh lies otherwise than the candidate promises, or
    where copies of it differ; `reassociated` compares it with one device in the same dtypes.
    """

    case: str
    cell: str
    mode: str
    site: str
    port: str
    call: int
    order: int
    kind: str
    layout: str
    shape: tuple[int, ...]
    dtype: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    scale: float = 0.0  # largest magnitude of the golden over the compared rows
    nonfinite: int = 0  # values that are not finite where the golden's are
    worst: tuple[Element, ...] = ()
    where: tuple[Where, ...] = ()
    histogram: Histogram | None = None
    ratios: Ratios | None = None
    error_map: ErrorMap | None = None
    noise: Mapping[str, float] = field(default_factory=dict)
    decided: Decided | None = None
    agreeing: Agreeing | None = None
    placement: str = ""
    reassociated: Reassociated | None = None
    problem: str = ""
    detail: str = ""
    digest: str = ""  # of the candidate's bits over the real tokens, and of their dtype; empty where there are none

    @property
    def address(self) -> str:
        return address(self.site, self.port, self.call)

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        """What identifies the row in any run: case, cell, mode, site, port, call."""
        return (self.case, self.cell, self.mode, self.site, self.port, self.call)


@dataclass(frozen=True)
class Kept:
    """A value of the candidate's, in the golden's layout, that a replay was asked to keep. A line of `values.jsonl`."""

    case: str
    cell: str
    mode: str
    site: str
    port: str
    call: int
    tensor: TensorRef


@dataclass(frozen=True)
class Judgement:
    """One metric of one row against its limit: it is within where ratio <= limit. `rule` names the budget.

    `value` is lower-is-better: 1 - agreement for a metric of which more is better. `ratio` is value / max(floor,
    minimum), that is ρ, and `limit` the rule's factor; under a fixed limit `ratio` is the value itself. `noise` is the
    part of the candidate's own noise that entered: then the divisor is √(max(floor, minimum)² + noise²).
    """

    metric: str
    value: float
    floor: float
    minimum: float
    ratio: float
    limit: float
    rule: str
    ok: bool
    noise: float = 0.0

    @property
    def share(self) -> float:
        """The part of the budget that is used: over 1 is over budget. Under a limit of 0 the value itself."""
        return self.ratio / self.limit if self.limit else self.ratio

    @property
    def is_fixed(self) -> bool:
        """Whether the limit is one on the value itself, and not a factor on a floor."""
        return self.floor == 0.0 and self.minimum == 0.0 and self.ratio == self.value


@dataclass(frozen=True)
class Row:
    """A judged drift. Written to `rows.jsonl`.

    `origin` is the address of the value to blame where the diagnosis is `propagated`. `accepted` is the reason of the
    baseline that lets an over-budget row pass. `evidence` says in one sentence how a row differs, and where in its
    value; `edges` are where parts of its axes meet, on its error map. `excuse` is what becomes of a choice's flips;
    None where there are none. `baseline` is the run that the baseline has this row from, within budget or not; empty
    where nothing was accepted of it.
    """

    drift: Drift
    verdict: Verdict
    diagnosis: Diagnosis = Diagnosis.NONE
    judgements: tuple[Judgement, ...] = ()
    origin: str = ""
    reason: str = ""
    accepted: str = ""
    evidence: str = ""
    excuse: Excuse | None = None
    baseline: str = ""
    edges: tuple[Edge, ...] = ()

    @property
    def worst_judgement(self) -> Judgement | None:
        """The judgement furthest over its limit or, where all are within, nearest to it."""
        return max(self.judgements, key=lambda j: (not j.ok, j.share), default=None)
