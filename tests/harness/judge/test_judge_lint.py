"""Findings by what a family expects."""

from dataclasses import replace

from paritygate.core.lint import Expected, Finding
from paritygate.judge.lint import noted

ROWS = (Expected("island", "toy.norm:*", "as the reference has it"), Expected("low-*", "toy.gate:*", "never there"))


def finding(rule: str, where: str, cell: str = "bf16/single/cpu", case: str = "toy-2.plain") -> Finding:
    return Finding(case, cell, rule, where, "norm.py:3", "computed in float32")


def test_what_is_expected_has_its_reason_and_what_is_not_is_new():
    lint = noted(
        [("toy", finding("island", "toy.norm:Norm")), ("toy", finding("island", "toy.mlp:Mlp"))], {"toy": ROWS}
    )
    assert [(each.where, each.reason) for each in lint.expected] == [("toy.norm:Norm", "as the reference has it")]
    assert [each.where for each in lint.new] == ["toy.mlp:Mlp"]
    assert lint.new[0].text == "island  norm.py:3 (toy.mlp:Mlp): computed in float32  (bf16/single/cpu)"
    assert lint.listed == ()


def test_an_expectation_of_another_rule_does_not_count():
    assert [each.rule for each in noted([("toy", finding("low-math", "toy.norm:Norm"))], {"toy": ROWS}).new] == [
        "low-math"
    ]


def test_an_expectation_may_be_of_one_program_only():
    back = replace(finding("island", "toy.norm:Norm"), of="backward")
    rows = (replace(ROWS[0], of="backward"),)
    lint = noted([("toy", finding("island", "toy.norm:Norm")), ("toy", back)], {"toy": rows})
    assert [each.of for each in lint.expected] == ["backward"]
    assert [each.of for each in lint.new] == ["forward"]
    assert lint.expected[0].text.startswith("island, backward  norm.py:3")
    assert {each.of for each in noted([("toy", back)], {"toy": ROWS}).expected} == {"backward"}  # said of none: of any


def test_cells_and_cases_of_one_finding_are_gathered():
    found = [finding("island", "toy.norm:Norm", cell, case) for cell in ("a/b/c", "d/e/f") for case in ("x.y", "z.w")]
    (each,) = noted([("toy", one) for one in found], {"toy": ROWS}).expected
    assert (each.cells, each.cases) == (("a/b/c", "d/e/f"), ("x.y", "z.w"))


def test_a_family_that_expects_nothing_has_its_findings_listed():
    lint = noted([("toy", finding("island", "toy.norm:Norm"))], {"toy": ()})
    assert (lint.new, lint.expected, [each.family for each in lint.listed]) == ((), (), ["toy"])


def test_expectations_that_nothing_met_are_named():
    assert noted([("toy", finding("island", "toy.norm:Norm"))], {"toy": ROWS}).idle == ("toy: low-* in toy.gate:*",)


def test_what_one_cell_may_have_is_new_in_another():
    rows = {"toy": (Expected("island", "toy.norm:*", "kept wide", cells="mixed/*"),)}
    lint = noted(
        [("toy", finding("island", "toy.norm:Norm", f"{dtype}/single/cpu")) for dtype in ("bf16", "mixed")], rows
    )
    assert [each.cells for each in lint.expected] == [("mixed/single/cpu",)]
    assert [each.cells for each in lint.new] == [("bf16/single/cpu",)]
