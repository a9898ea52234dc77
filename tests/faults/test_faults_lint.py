"""The precision lint sees the faults of precision in the program alone, at the function that each was planted in."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from paritygate.audit.lint import lint
from paritygate.catalog.select import case_of, families, policies, select_faults
from paritygate.core.cell import Cell
from paritygate.core.fault import Fault
from paritygate.core.lint import Noted
from paritygate.core.registry import load
from paritygate.judge.lint import noted
from paritygate.replay.bench import Bench
from paritygate.replay.plant import planted
from paritygate.store.golden import GoldenStore

STORE = GoldenStore(Path(__file__).resolve().parents[2] / "golden")
FAULTS = {fault.name: fault for group, fault in select_faults(["precision"]) if group.name in ("islands", "sums")}


@cache
def model_of(suite: str, case_id: str, dtype: str) -> tuple[Bench, Any, Any]:
    golden = STORE.read(suite, case_id)
    family, policy = families()[golden.case.family], policies()[dtype]
    bench = Bench(family, golden.case, golden, Cell(dtype, "single", "cpu"), policy, STORE)
    return bench, *nnx.split(load(family.candidate.build)(golden.config, bench.weights(), policy))


def new_findings(fault: Fault) -> tuple[Noted, ...]:
    suite, case = case_of(fault)
    # f16 has the program of bf16; what only another policy computes is seen in that one.
    bench, graphdef, state = model_of(suite, case.id, "bf16" if fault.sees == "f16" else fault.sees)

    def run(state: Any, given: dict[str, jax.Array]) -> Any:
        return nnx.merge(graphdef, state)(**given)

    programs: list[Any] = []
    with planted(fault.patches):
        programs.append(jax.make_jaxpr(run)(state, bench.model_arguments(*bench.prompt.spans[0])))
        if bench.prompt.backward:
            programs.append(backward(bench, nnx.merge(graphdef, state)))
    found = [
        replace(each, where=own(each.where))
        for program in programs
        for each in lint(case.id, str(bench.cell), program, "bfloat16")
    ]
    return noted(((case.family, each) for each in found), {case.family: bench.family.expected}).new


def backward(bench: Bench, model: Any) -> Any:
    programs: list[Any] = []

    def compiled(derivative: Any) -> Any:
        def traced(weights: Any, *given: Any) -> Any:
            programs.append(jax.make_jaxpr(derivative)(weights, *given))
            return weights  # in the place of their gradients: nobody looks at numbers here

        return traced

    arguments = bench.model_arguments(*bench.prompt.spans[0])
    load(bench.family.candidate.gradients)(model, arguments, bench.prompt.backward, compiled)
    return programs.pop()


def own(where: str) -> str:
    """With the function that a fault was planted in, where the fault has functions of its own."""
    return re.sub(r"\.<locals>.*?(?= -> |$)", "", where)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_of_precision_is_a_new_finding_where_it_was_planted(name):
    targets = {patch.target for patch in FAULTS[name].patches}
    modules = {target.partition(":")[0] for target in targets}

    def at_home(finding: Noted) -> bool:
        if finding.rule == "low-constant":  # a constant shows where it is used
            return finding.where.partition(":")[0] in modules
        return any(where in targets for where in finding.where.split(" -> "))

    assert [finding for finding in new_findings(FAULTS[name]) if at_home(finding)]


def test_a_right_candidate_has_no_new_finding():
    nothing = replace(FAULTS["gradient-of-norm-weights-in-16-bits"], patches=())
    assert new_findings(nothing) == ()


def test_what_is_in_the_backward_pass_is_found_there():
    name = "gradient-of-norm-weights-in-16-bits"
    assert {finding.of for finding in new_findings(FAULTS[name])} == {"backward"}


def test_a_stream_that_is_rounded_and_widened_again_is_a_new_finding_though_its_dtype_is_right():
    fault = FAULTS["residual-in-16-bits"]
    widened = [
        replace(
            patch, new=patch.new.replace(".astype(self.numerics.compute)", ".astype(jnp.bfloat16).astype(residual)")
        )
        for patch in fault.patches
    ]
    widened[0] = replace(widened[0], new=f"import jax.numpy as jnp\n    {widened[0].new}")
    assert {finding.rule for finding in new_findings(replace(fault, patches=tuple(widened)))} >= {"round-trip"}
