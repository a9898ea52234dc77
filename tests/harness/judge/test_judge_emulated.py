"""A policy that torch has no peer for is judged by another's floors, and by budgets that name its arithmetic."""

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
F32 = DtypePolicy("f32", "float32", "float32", peer="float32")
TENSORS = DtypePolicy("f32@one", "float32", "float32", peer="bfloat16", matmul="one", floor="bf16", flow="f32")
COARSE = replace(TENSORS, name="f32@two", matmul="two", roundoff=2.0**-4)
POLICIES = {policy.name: policy for policy in (BF16, F32, TENSORS, COARSE)}

PORT = GoldenPort(
    "mlp", "out", 0, Kind.FLOAT, "B D", 0, TensorRef("0" * 64, "float64", (2, 4)), ("isolated",),
    dtypes={"bf16": "bfloat16", "f32": "float32"},
    floors={"isolated": {"bf16": {"rel_l2": 1e-2}, "f32": {"rel_l2": 1e-7}}},
)  # fmt: skip
OWN = Budget("own", "rel_l2", "its own", factor=2.0, minimum_eps_x=1.0, dtype="f32@two")
LENT = Budget("lent", "rel_l2", "that of bf16", factor=2.0, minimum_eps_x=1.0, dtype="bf16")
NARROW = Budget("narrow", "rel_l2", "that of f32", factor=2.0, minimum_eps_x=1.0, dtype="f32*")


def judged(policy: str, drift: float, dtype: str = "float32") -> Row:
    case = Case("toy", "toy-2", "plain")
    golden = Golden(case, {}, {}, {}, (PORT,), {}, {}, spec="")
    cell = f"{policy}/single/cpu"
    found = Drift(
        case.id, cell, "isolated", "mlp", "out", 0, 0, "float", "B D", (2, 4), dtype, metrics={"rel_l2": drift}
    )
    budgets = Budgets((OWN, NARROW, LENT), BaselineRule(1.25, "noise"))
    (row,) = judge([found], {case.id: golden}, [cell], ["isolated"], budgets, {}, POLICIES)
    return row


def test_the_floor_and_the_rule_are_those_of_the_policy_it_borrows_from() -> None:
    row = judged("f32@one", 1.9e-2)
    (judgement,) = row.judgements
    assert (row.verdict, judgement.rule, judgement.floor) == (Verdict.PASS, "lent", 1e-2)
    assert judgement.minimum == 2.0**-8, "roundoffs of the dtype that the floor was taken in"
    assert judged("f32@one", 2.1e-2).verdict is Verdict.OVER_BUDGET
    assert judged("f32", 1e-6).judgements[0].rule == "narrow"


def test_a_rule_with_an_at_is_for_the_arithmetic_and_counts_in_its_roundoffs() -> None:
    (judgement,) = judged("f32@two", 0.1).judgements
    assert (judgement.rule, judgement.minimum, judgement.ok) == ("own", 2.0**-4, True)
    assert judged("f32@two", 0.2).verdict is Verdict.OVER_BUDGET


def test_values_have_the_dtypes_of_the_policy_that_flows_alike() -> None:
    row = judged("f32@one", 1e-3, dtype="bfloat16")
    assert row.verdict is Verdict.MISMATCH and "where the reference in this cell has float32" in row.reason


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("f64", "none: fixed limits"),
        ("bf16", "peer in torch bfloat16"),
        ("f32@tf32", "borrowed from f16, whose peer is torch float16"),
        ("f32@bf16x3", "borrowed from f32, whose peer is torch float32, minimum in roundoffs of 2^-14"),
    ],
)
def test_a_policy_says_where_its_floor_comes_from(name: str, said: str) -> None:
    assert policies()[name].floor_from == said
