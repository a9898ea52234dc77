"""What each part of a dtype policy costs at the logits: aspects, variations of a policy, their costs, and mixes.

Recorded in `sensitivity.json`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from paritygate.core.cell import DtypePolicy

LOGITS = "logits"  # the role of the ports that costs are taken at


@dataclass(frozen=True)
class Aspect:
    """Roles of a dtype policy that are narrowed together, such as those of a softmax.

    `matmul` is, by the narrow dtype, an arithmetic of products that stands in for roles: what they are summed in has
    none, as it is no value that a program holds.
    """

    name: str
    roles: tuple[str, ...] = ()
    matmul: Mapping[str, str] = field(default_factory=dict)
    doc: str = ""


# `wide` and `narrow`: all roles in float32, or in the narrow dtype. An `aspect` or a `layer` is narrow, the rest wide;
# one that is `raised` is wide, the rest narrow; a `mix` has several of those. A `policy` is the catalog's.
Kind = Literal["wide", "narrow", "aspect", "layer", "raised", "mix", "policy"]


@dataclass(frozen=True)
class Variation:
    """A way to run the candidate: all of it in `policy`, but for the module at the path `layer`, in `inside`."""

    kind: Kind
    name: str
    policy: DtypePolicy
    layer: str = ""
    inside: DtypePolicy | None = None


@dataclass(frozen=True)
class Cost:
    """What a variation costs at the logits of one case, or of several, against the golden, over real tokens.

    `kl` is KL(golden ‖ candidate) of the next-token distributions in nats, the mean over tokens, and `kl_max` that of
    the worst token. `top1` of the tokens have another largest logit; `flips` of the `choices` (a token at a site that
    chooses) are others. `written_bytes` is what the equations of the program give, each counted once; 0 for one
    that is emulated, whose program is not the candidate's own.
    """

    kind: Kind
    name: str
    case: str
    tokens: int = 0
    kl: float = 0.0
    kl_max: float = 0.0
    rel_l2: float = 0.0
    top1: int = 0
    flips: int = 0
    choices: int = 0
    written_bytes: int = 0
    problem: str = ""


def summed(costs: Iterable[Cost]) -> dict[tuple[Kind, str], Cost]:
    """The cost of each variation over all of its cases, by kind and name: means over the tokens, the worst, and sums.

    One that has a problem in a case has it as a whole, with infinite KL.
    """
    of: dict[tuple[Kind, str], list[Cost]] = {}
    for cost in costs:
        of.setdefault((cost.kind, cost.name), []).append(cost)
    return {key: _sum(key, some) for key, some in of.items()}


def _sum(key: tuple[Kind, str], some: list[Cost]) -> Cost:
    written = sum(cost.written_bytes for cost in some)
    if bad := next((cost for cost in some if cost.problem), None):
        problem = f"{bad.case}: {bad.problem}"
        return Cost(*key, "", kl=math.inf, kl_max=math.inf, rel_l2=math.inf, written_bytes=written, problem=problem)
    tokens = sum(cost.tokens for cost in some)
    return Cost(
        *key,
        "",
        tokens,
        sum(cost.kl * cost.tokens for cost in some) / tokens,
        max(cost.kl_max for cost in some),
        math.sqrt(sum(cost.rel_l2**2 * cost.tokens for cost in some) / tokens),
        sum(cost.top1 for cost in some),
        sum(cost.flips for cost in some),
        sum(cost.choices for cost in some),
        written,
    )


@dataclass(frozen=True)
class Mix:
    """A mixed policy that was tried: the aspects that are wide in it, what was predicted, and what was measured."""

    raised: tuple[str, ...]
    predicted_kl: float
    predicted_bytes: int
    measured: Cost


@dataclass(frozen=True)
class Sensitivity:
    """Everything that `dtypes` found. `costs` are by case; the last of the `mixes` keeps the budget, if any does."""

    suite: str
    cases: tuple[str, ...]
    low: str
    budget: float
    budget_from: str
    aspects: tuple[Aspect, ...]
    costs: tuple[Cost, ...]
    mixes: tuple[Mix, ...] = ()
    floors: Mapping[str, str] = field(default_factory=dict)  # dtype policy → where its noise floor comes from
    versions: Mapping[str, str] = field(default_factory=dict)
