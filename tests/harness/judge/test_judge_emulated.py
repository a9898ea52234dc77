"""A policy that emulates an arithmetic is judged by a peer that does, and by the budgets of its dtype."""

from dataclasses import replace

import pytest

from paritygate.catalog.select import policies
from paritygate.core.budget import BaselineRule, Budget, Budgets
from paritygate.core.cell import DtypePolicy
from paritygate.core.drift import Drift, Row, Verdict
from paritygate.core.family import Case
from paritygate.core.golden import Golden, GoldenPort, TensorRef
from paritygate.core.site import Kind
from paritygate.judge.decide import judge

BF16 = DtypePolicy("bf16", "bfloat16", "float32", peer="bfloat16")
EMULATED = DtypePolicy("bf16@one", "bfloat16", "float32", peer="bfloat16", matmul="one")
MIXED = DtypePolicy("mixed", "bfloat16", "float32", peer="bfloat16", floor="bf16")
POLICIES = {policy.name: policy for policy in (BF16, EMULATED, MIXED)}

PORT = GoldenPort(
    "mlp", "out", 0, Kind.FLOAT, "B D", 0, TensorRef("0" * 64, "float64", (2, 4)), ("isolated",),
    dtypes={"bf16": "bfloat16"},
    floors={"isolated": {"bf16": {"rel_l2": 1e-2}, "bf16@one": {"rel_l2": 5e-2}}},
)  # fmt: skip
TOY = Case("toy", "toy-2", "plain")
RULE = Budget("of-bf16", "rel_l2", "that of bf16", factor=2.0, minimum_eps_x=1.0, dtype="bf16")
FLOORS = {"bf16": 1e-2, "bf16@one": 5e-2, "mixed": 1e-2}


def judged(
    policy: str,
    drift: float,
    dtype: str = "bfloat16",
    port: GoldenPort = PORT,
    case: Case = TOY,
) -> Row:
    golden = Golden(case, {}, {}, {}, (port,), {}, {}, spec="")
    cell = f"{policy}/single/cpu"
    found = Drift(
        case.id, cell, "isolated", port.site, port.port, 0, 0, "float", "B D", (2, 4), dtype, metrics={"rel_l2": drift}
    )
    budgets = Budgets((RULE,), BaselineRule(1.25, "noise"))
    (row,) = judge([found], {case.id: golden}, [cell], ["isolated"], budgets, {}, POLICIES)
    return row


@pytest.mark.parametrize("policy", FLOORS)
def test_the_rule_is_that_of_the_dtype_and_the_floor_of_a_peer_that_multiplies_alike(policy: str) -> None:
    (judgement,) = judged(policy, 1.9 * FLOORS[policy]).judgements
    assert (judgement.rule, judgement.floor, judgement.ok) == ("of-bf16", FLOORS[policy], True)
    assert judgement.minimum == 2.0**-8
    assert judged(policy, 2.1 * FLOORS[policy]).verdict is Verdict.OVER_BUDGET


def test_a_golden_without_that_peer_is_no_pass() -> None:
    row = judged("bf16@one", 1e-3, port=replace(PORT, floors={"isolated": {"bf16": {"rel_l2": 1e-2}}}))
    assert row.verdict is Verdict.ERROR and "no floor for rel_l2 of bf16@one, isolated" in row.reason


@pytest.mark.parametrize("policy", FLOORS)
def test_values_have_the_dtypes_of_the_policy_that_multiplies_as_torch_does(policy: str) -> None:
    row = judged(policy, 1e-3, dtype="float32")
    assert row.verdict is Verdict.MISMATCH and "where the reference in this cell has bfloat16" in row.reason


def test_a_role_that_the_policy_names_has_its_dtype_and_not_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = replace(PORT, site="layers.0", port="out", dtypes={"bf16": "bfloat16"})
    policy = DtypePolicy("wide", "bfloat16", "float32", peer="bfloat16", roles={"residual": "float32"}, floor="bf16")
    monkeypatch.setitem(POLICIES, "wide", policy)

    def said(port: GoldenPort, dtype: str) -> Row:
        return judged("wide", 1e-3, dtype, port, Case("llama4", "tiny-scout", "long"))

    assert said(stream, "float32").verdict is Verdict.PASS
    row = said(stream, "bfloat16")
    assert row.verdict is Verdict.MISMATCH
    assert row.reason.startswith("computed in bfloat16, where wide keeps residual in float32")
    other = replace(stream, site="layers.0.attn")
    assert said(other, "bfloat16").verdict is Verdict.PASS and said(other, "float32").verdict is Verdict.MISMATCH
    weight = replace(stream, site="gradients", port="out.norm.weight")
    assert said(weight, "bfloat16").verdict is Verdict.PASS, "parameters are not named"
    assert said(replace(stream, site="nowhere"), "bfloat16").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("f64", "none: fixed limits"),
        ("bf16", "peer in torch bfloat16"),
        ("f32@tf32", "peer in torch float32, its products emulated in tf32"),
        ("mixed", "borrowed from bf16, whose peer is torch bfloat16"),
    ],
)
def test_a_policy_says_where_its_floor_comes_from(name: str, said: str) -> None:
    assert policies()[name].floor_from == said
