"""Which variations are run, what is predicted of a mix, and which one is found."""

from dataclasses import replace

import pytest

from paritygate.catalog.select import families, policies, suites
from paritygate.core.errors import NothingComparedError, UsageError
from paritygate.core.sensitivity import Aspect, Cost, summed
from paritygate.judge.sensitivity import (
    SLACK,
    TRIES,
    cases_with_logits,
    cheapest,
    default_budget,
    low_policy,
    mixed,
    predictions,
    variations,
)

ASPECTS = (
    Aspect("norm", ("norm",)),
    Aspect("stream", ("residual",)),
    Aspect("products", ("param", "compute")),
    Aspect("sums", matmul={"bfloat16": "bf16-accumulate"}),
)
# By aspect: the KL of it alone in the narrow dtype, and the bytes that raising it adds.
OF = {"norm": (4.0, 16), "stream": (1.0, 2), "products": (2.0, 8)}
COSTS = summed(
    [
        Cost("wide", "float32", "a", 4, kl=0.0, written_bytes=126),
        Cost("narrow", "bfloat16", "a", 4, kl=7.0, written_bytes=100),
        *(Cost("aspect", name, "a", 4, kl=kl) for name, (kl, _) in OF.items()),
        *(Cost("raised", name, "a", 4, kl=7.0 - kl, written_bytes=100 + extra) for name, (kl, extra) in OF.items()),
        Cost("policy", "bf16", "a", 4, kl=2.0),
    ]
)


def found(budget: float, **measured: float) -> list[tuple[tuple[str, ...], float, float]]:
    """Each mix that is tried: what is raised, the KL predicted and that measured, by default the one predicted."""

    def measure(raised: tuple[str, ...]) -> Cost:
        kl = sum(kl for name, (kl, _) in OF.items() if name not in raised)
        return Cost("mix", " ".join(raised), "a", 4, kl=measured.get("_".join(raised), kl))

    return [(mix.raised, mix.predicted_kl, mix.measured.kl) for mix in cheapest(COSTS, ASPECTS, budget, measure)]


def test_a_prediction_adds_up_what_is_narrow_and_what_is_raised() -> None:
    of = {each.raised: (each.kl, each.written_bytes) for each in predictions(COSTS, ASPECTS)}
    assert len(of) == 8, "what has no role is in no mix"
    assert (
        of[()] == (7.0, 100) and of["norm", "products"] == (1.0, 124) and of["norm", "stream", "products"] == (0.0, 126)
    )
    assert list(of)[:3] == [(), ("stream",), ("products",)], "the fewest bytes first"


def test_what_is_known_of_none_or_one_raised_is_not_predicted() -> None:
    known = {**COSTS, ("raised", "stream"): replace(COSTS["raised", "stream"], kl=0.5)}
    of = {each.raised: each.kl for each in predictions(known, ASPECTS)}
    assert of["stream",] == 0.5 and of["norm", "stream"] == 2.0


def test_the_cheapest_that_keeps_the_budget_is_found() -> None:
    assert found(7.0) == [((), 7.0, 7.0)]
    assert found(3.0) == [(("norm",), 3.0, 3.0)]
    assert found(5.0) == [(("products",), 5.0, 5.0)]


def test_one_that_breaks_it_when_measured_is_followed_by_the_next_that_raises_more_or_other() -> None:
    tried = found(5.0, products=6.0)
    assert [raised for raised, *_ in tried] == [("products",), ("stream", "products")]
    assert [raised for raised, *_ in found(5.0, stream_products=6.0, products=6.0)][-1] == ("norm",)


def test_nothing_that_raises_less_than_a_failure_is_tried() -> None:
    aspects = ASPECTS[:2]
    costs = {**COSTS, ("raised", "norm"): replace(COSTS["raised", "norm"], written_bytes=90)}
    tried = [mix.raised for mix in cheapest(costs, aspects, 9.0, lambda raised: Cost("mix", "", "a", 4, kl=99.0))]
    assert tried == [("norm",), ("norm", "stream")], "() and stream are part of those"
    assert len(tried) < TRIES


def test_what_is_not_finite_alone_is_raised() -> None:
    bad = [Cost("aspect", "stream", "a", problem="overflow"), Cost("narrow", "bfloat16", "a", problem="overflow")]
    (mix,) = cheapest({**COSTS, **summed(bad)}, ASPECTS, 100.0, lambda raised: Cost("mix", "", "a", 4))
    assert mix.raised == ("stream",)


def test_a_measured_mix_with_a_problem_does_not_keep_the_budget() -> None:
    tried = list(cheapest(COSTS, ASPECTS, 7.0, lambda raised: Cost("mix", "", "a", problem="" if raised else "nan")))
    assert [mix.raised for mix in tried] == [(), ("stream",)]


def test_the_budget_that_nobody_gave() -> None:
    assert default_budget(COSTS, "bf16") == (
        SLACK * 2.0,
        "1.25 × the KL of bf16, which has the islands of the reference",
    )
    with pytest.raises(UsageError, match="no budget: f16"):
        default_budget(summed([Cost("policy", "f16", "a", problem="overflow")]), "f16")


def test_costs_of_cases_are_weighed_by_their_tokens_and_a_problem_is_one_of_all() -> None:
    one, other = (
        Cost("mix", "m", "a", 1, 4.0, 5.0, 3.0, 1, 2, 8, 10),
        Cost("mix", "m", "b", 3, 0.0, 1.0, 1.0, 0, 1, 8, 10),
    )
    (whole,) = summed([one, other]).values()
    assert whole == Cost("mix", "m", "", 4, 1.0, 5.0, 3.0**0.5, 1, 3, 16, 20)
    (broken,) = summed([one, replace(other, problem="nan")]).values()
    assert broken.problem == "b: nan" and broken.kl == float("inf")


FAMILY = families()["llama4"]
TINY = list(suites()["tiny"])


def test_every_part_is_narrowed_alone_and_every_policy_is_run() -> None:
    low = low_policy(policies(), "bf16")
    found = variations(FAMILY, TINY, policies(), low)
    names = {kind: [each.name for each in found if each.kind == kind] for kind in {each.kind for each in found}}
    assert names["wide"] == ["float32"] and names["narrow"] == ["bfloat16"]
    assert names["aspect"] == [aspect.name for aspect in FAMILY.aspects]
    assert set(names["aspect"]) - set(names["raised"]) == {"accumulation"}
    assert names["layer"] == [f"layers.{layer}" for layer in range(4)]
    assert names["policy"] == list(policies())
    assert len({(each.kind, each.name) for each in found}) == len(found)
    of = {(each.kind, each.name): each for each in found}
    softmax = of["aspect", "softmax"].policy
    assert (softmax.dtype("scores"), softmax.dtype("softmax"), softmax.dtype("compute")) == (
        "bfloat16",
        "bfloat16",
        "float32",
    )
    assert of["aspect", "accumulation"].policy.matmul == "bf16-accumulate"
    raised = of["raised", "softmax"].policy
    assert (raised.dtype("scores"), raised.dtype("norm"), raised.matmul) == ("float32", "bfloat16", "")
    layer = of["layer", "layers.2"]
    assert layer.layer == "model.layers.2" and layer.inside is not None
    assert [layer.inside.dtype(role) for role in ("compute", "norm", "residual")] == ["bfloat16", "float32", "float32"]


def test_all_aspects_raised_is_float32_and_none_is_all_narrow() -> None:
    from paritygate.core.cell import FOLLOWING

    low, roles = low_policy(policies(), "bf16"), {role for aspect in FAMILY.aspects for role in aspect.roles}
    every = [aspect.name for aspect in FAMILY.aspects]
    assert {mixed(low, FAMILY.aspects, every).dtype(role) for role in roles} == {"float32"}
    assert {mixed(low, FAMILY.aspects, ()).dtype(role) for role in roles} == {"bfloat16"}
    assert roles > {"compute", *FOLLOWING}
    held = [role for aspect in FAMILY.aspects for role in aspect.roles]
    assert len(held) == len(set(held)), "a role is in one aspect"


def test_what_cannot_be_swept_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^nothing to narrow: llama4\n  expected  aspects in the family's spec"):
        cases_with_logits(replace(FAMILY, aspects=()), TINY)
    with pytest.raises(NothingComparedError, match="no logits to compare: llama4"):
        cases_with_logits(replace(FAMILY, sites=FAMILY.sites[:3]), TINY)
    with pytest.raises(UsageError, match=r"^no narrow dtype: --low f32\n  expected  bf16 or f16"):
        low_policy(policies(), "f32")
