"""What an inspection finds in a candidate: its modules, and which weight each element of a variable stands for."""

from dataclasses import replace as changed

import pytest

from paritygate.catalog import select
from paritygate.core.cell import Cell
from paritygate.core.family import Case
from paritygate.judge.coverage import prove
from paritygate.judge.gate import exit_code
from paritygate.replay.bench import Bench
from paritygate.replay.inspection import inspect

CASE = Case("toy", "toy-2", "plain")


@pytest.fixture
def look(toy_store):
    """look(build="right", parameters="right", cell="f32") → the inspection of one of `toy_coverage`'s candidates."""

    def inspection(build: str = "right", parameters: str = "right", cell: str = "f32"):
        import toy_coverage
        import toy_jax

        family = select.families()["toy"]
        named = f"toy_coverage:{parameters}_parameters" if parameters else ""
        family = changed(family, candidate=changed(family.candidate, parameters=named))
        policy, golden = select.policies()[cell], toy_store.read("toy", CASE.id)
        bench = Bench(family, CASE, golden, Cell(cell, "single", "cpu"), policy, toy_store)
        model = toy_jax.build(golden.config, bench.weights(), policy)
        return inspect(bench, getattr(toy_coverage, build)(model))

    return inspection


@pytest.mark.parametrize("cell", ["f32", "f16", "bf16"])
def test_a_right_candidate_has_the_goldens_own_weights(look, toy_store, cell):
    found = look(cell=cell)
    assert (found.case, found.cell) == ("toy-2.plain", f"{cell}/single/cpu")
    assert found.parameters == toy_store.read("toy", CASE.id).weights
    assert (found.unused, found.shared, found.problem) == ({}, {}, "")
    assert found.modules[:2] == ("", "embed")
    assert {"layers.1.norm", "layers.1.tap_active"} < set(found.modules)


def test_looking_leaves_the_candidate_as_it_is(look):
    assert look() == look()


@pytest.mark.parametrize(
    ("build", "differs"),
    [("reversed_rows", "head.weight"), ("halved", "layers.0.norm.weight"), ("nudged", "head.weight")],
)
def test_other_values_are_another_weight(look, toy_store, build, differs):
    weights = toy_store.read("toy", CASE.id).weights
    found = look(build)
    assert [name for name, ref in found.parameters.items() if ref != weights[name]] == [differs]
    assert found.parameters[differs].shape == weights[differs].shape


def test_a_variable_that_stands_for_no_weight_is_unused(look):
    found = look("grown")
    assert found.unused == {"scale": 3}
    assert "extra" in found.modules


def test_elements_that_are_left_out_or_taken_twice_are_counted(look):
    assert look(parameters="cut").unused == {"head.kernel": 10}
    assert look(parameters="repeated").shared == {"embed.rows": 2560}
    assert look(parameters="repeated").unused == {"head.kernel": 2560}


def test_layouts_may_differ_and_arithmetic_may_not(look):
    assert look(parameters="laid_out").unused == look(parameters="laid_out").shared == {}
    assert look(parameters="computed").problem == (
        "ValueError: head.weight is computed as float32: parameters may only be renamed and laid out anew"
    )
    assert look(parameters="failing").problem == "KeyError: 'decoder.weight'"
    assert look(parameters="").problem.startswith("the family does not say how")


def test_a_run_of_a_candidate_that_grew_fails_though_every_value_passes(replay_toy, judged, toy_store):
    run = replay_toy("toy_coverage:build_grown", cells="f64,f32,bf16")
    rows, goldens = judged(run), {CASE.id: toy_store.read("toy", CASE.id)}
    assert {row.verdict for row in rows} == {"pass"}
    looked_at = sorted(inspection.cell for inspection in run.inspections())
    assert looked_at == ["f32/single/cpu", "f64/single/cpu"], "once in each process"
    coverage = prove(goldens, select.families(), run.inspections(), rows, run.info.modes)
    assert [(gap.verdict, gap.part, gap.where) for gap in coverage.gaps] == [
        ("missing", "candidate module", "extra"),
        ("missing", "candidate parameter", "scale"),
    ]
    assert exit_code(rows, run.info.problems, coverage.gaps) == 1
