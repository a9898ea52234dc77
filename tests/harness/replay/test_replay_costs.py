"""What a variation of a dtype policy runs is what it says, and its cost is what the replay measures."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from paritygate.audit.flat import Equation, flat
from paritygate.catalog.select import families, policies, suites
from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.registry import load
from paritygate.core.sensitivity import Cost, Variation
from paritygate.judge.sensitivity import low_policy, variations
from paritygate.replay.bench import Bench
from paritygate.replay.chained import chained
from paritygate.replay.costs import costs, measured, written_bytes
from paritygate.replay.job import Environment, Job
from paritygate.replay.repeat import Recorder
from paritygate.replay.telling import Telling
from paritygate.store.golden import GoldenStore

STORE = GoldenStore(Path(__file__).resolve().parents[3] / "golden")
CASE = next(case for case in suites()["tiny"] if case.id == "tiny-scout.long")
FAMILY = families()["llama4"]
LOW = low_policy(policies(), "bf16")
VARIATIONS = {(each.kind, each.name): each for each in variations(FAMILY, [CASE], policies(), LOW)}
WIDE = VARIATIONS["wide", "float32"]


def bench_of(policy: DtypePolicy) -> Bench:
    return Bench(FAMILY, CASE, STORE.read("tiny", CASE.id), Cell(policy.name, "single", "cpu"), policy, STORE)


@cache
def program(kind: Any, name: str) -> list[Equation]:
    variation = VARIATIONS[kind, name]
    bench = bench_of(variation.policy)
    model = load(FAMILY.candidate.build)(bench.manifest.config, bench.weights(), variation.policy)
    inside: Any = nullcontext()
    if variation.inside:
        inside = load(FAMILY.candidate.narrowed)(model, variation.layer, variation.inside)
    with inside:
        graphdef, state = nnx.split(model)
    given = bench.model_arguments(*bench.prompt.spans[0])
    return flat(jax.make_jaxpr(lambda state, given: nnx.merge(graphdef, state)(**given).logits)(state, given))


def given_in(dtype: str, equations: list[Equation]) -> Counter[str]:
    """How many values each function of the candidate, and flax's embedding, gives in a dtype."""
    return Counter(
        equation.line.function
        for equation in equations
        for value in equation.outputs
        if value.dtype.name == dtype
        and ("jax_llama4" in equation.line.file or equation.line.function == "Embed.__call__")
    )


# By aspect: the functions that have a value in the narrow dtype where it is, and nowhere else one.
PLACES = {
    "norm": {"_divide_by_rms", "Llama4TextRMSNorm.__call__", "Llama4TextL2Norm.__call__"},
    "softmax": {"attention_weights"},
    "router": {"Llama4Router.__call__"},
    "logits": {"Linear.__call__", "causal_lm_loss"},
    "residual": {"Llama4TextDecoderLayer.__call__", "Embed.__call__"},
    "rope": {"rotation_table", "_cos_and_sin", "apply_rotary_emb"},
    "activation": {"SiLUActivation.__call__"},
    "temperature": {"attention_temperature", "Llama4TextAttention._scale_query"},
}


def test_all_in_float32_has_nothing_narrow() -> None:
    assert not given_in("bfloat16", program("wide", "float32"))


@pytest.mark.parametrize("name", PLACES)
def test_an_aspect_is_narrow_where_it_is_and_nowhere_else(name: str) -> None:
    assert given_in("bfloat16", program("aspect", name)).keys() == PLACES[name]


def test_narrow_products_have_narrow_operands() -> None:
    products = [each for each in program("aspect", "products") if each.primitive == "dot_general"]
    assert products and {value.dtype.name for each in products for value in each.inputs} == {"bfloat16"}
    assert all(each.dtype.name == "float32" for each in program("aspect", "products")[-1].outputs), "logits are wide"


def test_a_narrow_accumulation_is_in_no_role_and_is_emulated() -> None:
    variation = VARIATIONS["aspect", "accumulation"]
    assert (dict(variation.policy.roles), variation.policy.matmul) == ({}, "bf16-accumulate")


@pytest.mark.parametrize("name", PLACES)
def test_an_aspect_that_is_raised_is_wide_where_it_is(name: str) -> None:
    of_all, raised = program("narrow", "bfloat16"), program("raised", name)
    assert written_bytes_of(raised) > written_bytes_of(of_all)
    before, after = (given_in("float32", some) for some in (of_all, raised))
    # A linear layer sums in float32 in any case.
    assert {function for function in after if after[function] > before[function]} == PLACES[name] - {"Linear.__call__"}
    assert before.keys() <= after.keys()


def written_bytes_of(equations: list[Equation]) -> int:
    return sum(int(np.prod(v.shape)) * v.dtype.itemsize for e in equations for v in e.outputs)


def test_bytes_are_those_of_every_result_once() -> None:
    closed = jax.make_jaxpr(lambda x: (x.astype("float32") + 1).sum())(np.zeros((3, 5), np.float16))
    assert written_bytes(closed) == 15 * 4 + 15 * 4 + 4


def products(equations: list[Equation]) -> list[str]:
    return [each.inputs[0].dtype.name for each in equations if each.primitive == "dot_general"]


def test_a_layer_alone_is_narrow_and_the_model_is_as_it_was_afterwards() -> None:
    found = [products(program("layer", f"layers.{layer}")) for layer in range(4)]
    whole = products(program("wide", "float32"))
    assert {len(each) for each in found} == {len(whole)} and set(whole) == {"float32"}
    narrow = [{place for place, dtype in enumerate(each) if dtype == "bfloat16"} for each in found]
    assert sum(map(len, narrow)) == len(whole) - 1 == len(set.union(*narrow)), "each product once, but for the head's"
    variation = VARIATIONS["layer", "layers.1"]
    model = load(FAMILY.candidate.build)(
        bench_of(WIDE.policy).manifest.config, bench_of(WIDE.policy).weights(), WIDE.policy
    )
    before = nnx.graphdef(model)
    with load(FAMILY.candidate.narrowed)(model, variation.layer, variation.inside):
        assert nnx.graphdef(model) != before
    assert nnx.graphdef(model) == before


@pytest.fixture(scope="module")
def job() -> Job:
    absent = Variation("layer", "layers.9", WIDE.policy, "model.layers.9", WIDE.policy)
    broken = Variation("policy", "broken", replace(WIDE.policy, compute="int32"))
    return Job(
        Environment("", "cpu", x64=False),
        str(STORE.root),
        "tiny",
        (CASE,),
        (),
        (Mode.CHAINED,),
        {"llama4": FAMILY},
        {},
        variations=(VARIATIONS["policy", "bf16"], VARIATIONS["layer", "layers.3"], absent, broken),
    )


@pytest.fixture(scope="module")
def found(job: Job) -> list[Cost]:
    return list(costs(job, STORE, Telling(lambda at: None)))


def test_a_layer_that_a_case_does_not_have_costs_nothing_there_and_a_failure_is_no_cost_of_0(found: list[Cost]) -> None:
    assert [(each.kind, each.name, bool(each.problem)) for each in found] == [
        ("policy", "bf16", False),
        ("layer", "layers.3", False),
        ("policy", "broken", True),
    ]
    assert found[2].problem.startswith("ValueError: Numerics.param: expected a floating dtype, got int32")


def test_the_cost_is_what_the_replay_measures_at_the_logits() -> None:
    bench = bench_of(policies()["bf16"])
    model = load(FAMILY.candidate.build)(bench.manifest.config, bench.weights(), bench.policy)
    recorder = Recorder(*(getattr(bench, name) for name in ("family", "case", "manifest", "cell", "policy", "store")))
    list(chained(recorder, model))
    (head,) = (drift for drift in chained(bench, model) if drift.address == "lm_head:out")
    cost = measured(recorder, partial(Cost, "policy", "bf16", CASE.id))
    for name in ("kl", "rel_l2"):
        assert getattr(cost, name) == float(f"{head.metrics[name]:.6g}")
    assert cost.top1 == round((1 - head.metrics["top1"]) * cost.tokens)
    assert (cost.tokens, cost.choices) == (76, 4 * 76)


def test_one_layer_costs_less_than_all_and_something(found: list[Cost]) -> None:
    whole, layer, _ = found
    assert 0 < layer.kl < whole.kl < whole.kl_max
    assert whole.written_bytes > 0


def test_flips_and_other_tokens_are_counted() -> None:
    bench = Recorder(FAMILY, CASE, STORE.read("tiny", CASE.id), Cell("wide", "single", "cpu"), WIDE.policy, STORE)
    for port in bench.manifest.ports:
        if port.role == "logits" or port.port == "out.choice":
            bench.values[Mode.CHAINED, port.address] = STORE.tensor(port.tensor).copy()

    def cost(**values: Any) -> Cost:
        return Cost("mix", "", CASE.id, **values)

    assert measured(bench, cost) == Cost("mix", "", CASE.id, tokens=76, choices=304)
    logits, choice = (bench.values[Mode.CHAINED, a] for a in ("lm_head:out", "layers.2.moe.router:out.choice"))
    choice[5] = 3 - choice[5]
    logits[0, 7] = -logits[0, 7]
    changed = measured(bench, cost)
    assert (changed.flips, changed.top1) == (1, 1) and changed.kl == float(f"{changed.kl_max / 76:.6g}")
    logits[1, 2, 3] = np.nan
    assert measured(bench, cost).problem == "1 tokens have logits that are not finite"
