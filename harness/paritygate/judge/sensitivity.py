"""Which variations of a dtype policy say what its parts cost, and which mix is the cheapest. Writes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import NothingComparedError, UsageError
from paritygate.core.family import Case, Family
from paritygate.core.sensitivity import LOGITS, Aspect, Cost, Kind, Mix, Variation

WIDE = "float32"
# Of a budget that nobody gave: another order of a sum moves the KL of a pass in 16 bits by a tenth or two.
SLACK = 1.25
TRIES = 12

Summed = Mapping[tuple[Kind, str], Cost]


def cases_with_logits(family: Family, cases: Sequence[Case]) -> list[Case]:
    """Those that show logits; raises UsageError where the family says nothing of its policies, or no case has any."""
    if not family.aspects:
        raise UsageError("nothing to narrow", where=family.name, expected="aspects in the family's spec", got="none")

    def has_logits(case: Case) -> bool:
        sites = family.sites_for(family.preset(case.preset), family.prompt(case.prompt))
        return any(port.role == LOGITS for site in sites for port in site.ports)

    found = [case for case in cases if has_logits(case)]
    if not found:
        raise NothingComparedError(
            "no logits to compare", where=family.name, expected=f"a case with a port of role {LOGITS!r}"
        )
    return found


def low_policy(policies: Mapping[str, DtypePolicy], name: str) -> DtypePolicy:
    """The policy whose dtype is the narrow one; raises UsageError where it is none of 16 bits."""
    narrow = [each.name for each in policies.values() if each.peer == each.compute != WIDE and each.plain == each.name]
    if name not in narrow:
        raise UsageError("no narrow dtype", where=f"--low {name}", expected=" or ".join(sorted(narrow)))
    return policies[name]


def variations(
    family: Family, cases: Sequence[Case], policies: Mapping[str, DtypePolicy], low: DtypePolicy
) -> list[Variation]:
    """Wide, narrow, each aspect narrowed and raised, each layer narrowed, and every policy of the catalog."""
    wide = DtypePolicy("wide", WIDE, WIDE, peer="")
    found = [Variation("wide", WIDE, wide), Variation("narrow", low.compute, mixed(low, family.aspects, ()))]
    found += [Variation("aspect", aspect.name, narrowed(wide, aspect, low.compute)) for aspect in family.aspects]
    found += [
        Variation("raised", aspect.name, mixed(low, family.aspects, (aspect.name,)))
        for aspect in family.aspects
        if aspect.roles
    ]
    if family.candidate.narrowed:
        # As the reference runs in that dtype, islands and all; the stream that the layers add to is not the layer's.
        inside = replace(low, roles={"residual": WIDE})
        layers = {
            (site.at(layer, traits).name, site.at(layer, traits).candidate): None
            for site in family.sites
            if site.stack and site.name.endswith("}")
            for case in cases
            for layer, traits in enumerate(family.preset(case.preset).stack(site.stack))
        }
        found += [Variation("layer", name, wide, path, inside) for name, path in layers]
    return found + [Variation("policy", name, policy) for name, policy in policies.items()]


def narrowed(policy: DtypePolicy, aspect: Aspect, dtype: str) -> DtypePolicy:
    """A policy with one aspect in a narrow dtype."""
    roles = {**policy.roles, **dict.fromkeys(aspect.roles, dtype)}
    return replace(policy, name=f"{policy.name}-{aspect.name}", roles=roles, matmul=aspect.matmul.get(dtype, ""))


def mixed(low: DtypePolicy, aspects: Sequence[Aspect], raised: Sequence[str]) -> DtypePolicy:
    """Everything in the narrow dtype but for the aspects that are raised; products are summed as ever."""
    roles = {role: WIDE for aspect in aspects if aspect.name in raised for role in aspect.roles}
    return DtypePolicy("mix", low.compute, low.compute, peer="", roles=roles)


def default_budget(costs: Summed, low: str) -> tuple[float, str]:
    """The KL that a budget is where none was given, and why."""
    cost = costs["policy", low]
    if cost.problem:
        raise UsageError("no budget", where=low, got=cost.problem, try_="--budget NATS")
    return SLACK * cost.kl, f"{SLACK:g} × the KL of {low}, which has the islands of the reference"


@dataclass(frozen=True)
class Prediction:
    """What is expected of a mix: the KL of each narrow aspect alone, added up, and the bytes that raising one adds.

    Where none or one is raised, the KL is known.
    """

    raised: tuple[str, ...]
    kl: float
    written_bytes: int


def predictions(costs: Summed, aspects: Iterable[Aspect]) -> list[Prediction]:
    """One for each set of aspects to raise, the cheapest first, of equals that with the lower KL."""
    names = [aspect.name for aspect in aspects if aspect.roles]
    least, narrow = costs["wide", WIDE].kl, next(cost for (kind, _), cost in costs.items() if kind == "narrow")
    adds = {name: max(costs["aspect", name].kl - least, 0.0) for name in names}
    extra = {name: costs["raised", name].written_bytes - narrow.written_bytes for name in names}
    known: dict[tuple[str, ...], float] = {(): narrow.kl, **{(name,): costs["raised", name].kl for name in names}}
    found = [
        Prediction(
            raised,
            known.get(raised, least + sum(adds[name] for name in names if name not in raised)),
            narrow.written_bytes + sum(extra[name] for name in raised),
        )
        for count in range(len(names) + 1)
        for raised in combinations(names, count)
    ]
    return sorted(found, key=lambda each: (each.written_bytes, each.kl))


def cheapest(
    costs: Summed, aspects: Iterable[Aspect], budget: float, measure: Callable[[tuple[str, ...]], Cost]
) -> Iterator[Mix]:
    """Tries mixes, the cheapest that is predicted to keep the budget first, until one does: the last.

    Where one does not, neither does a mix with fewer raised, so that is not tried. At most TRIES are.
    """
    failed: list[set[str]] = []
    for each in predictions(costs, aspects):
        if each.kl > budget or any(set(each.raised) <= other for other in failed) or len(failed) == TRIES:
            continue
        cost = measure(each.raised)
        yield Mix(each.raised, each.kl, each.written_bytes, cost)
        if not cost.problem and cost.kl <= budget:
            return
        failed.append(set(each.raised))
