"""The recorded kill matrix: of today's catalogue, as it must be, and no worse under today's budgets."""

from dataclasses import replace
from pathlib import Path

import pytest

from paritygate.catalog.select import DEFAULT_CELLS, fault_groups, select_cells, select_faults
from paritygate.cli.mutants import cells_for, narrowest, read_mutants
from paritygate.core.budget import Budgets
from paritygate.core.cell import SINGLE, Cell
from paritygate.core.fault import Fault
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.judge.budgets import read_budgets
from paritygate.judge.mutants import caught_again
from paritygate.report.kill_matrix import render_markdown

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
AGAIN = "paritygate mutate --write, with the names of the faults that were changed"


@pytest.fixture(scope="module")
def recorded() -> KillMatrix:
    return KillMatrix(tuple(read_mutants(GOLDEN / "mutations.jsonl")))


@pytest.fixture(scope="module")
def budgets() -> Budgets:
    return read_budgets(GOLDEN / "budgets.toml")


@pytest.fixture
def judged_again(recorded, golden_of):
    """The kill matrix that other budgets make of what was measured."""
    faults = {fault.name: fault for _, fault in select_faults()}

    def judge(budgets: Budgets) -> KillMatrix:
        def again(mutant: Mutant) -> Mutant:
            return replace(mutant, caught=caught_again(mutant, golden_of(faults[mutant.fault]), budgets))

        return KillMatrix(tuple(again(mutant) for mutant in recorded.mutants))

    return judge


def test_the_matrix_is_of_todays_catalogue(recorded) -> None:
    of_catalog = {(group.name, fault.name, fault.kind, fault.case) for group, fault in select_faults()}
    assert {(m.group, m.fault, m.kind, m.case) for m in recorded.mutants} == of_catalog, AGAIN


def _cells_that_tell(fault: Fault, cells: list[Cell]) -> list[Cell]:
    return cells if fault.kind == "harmless" else narrowest(fault, cells)


def test_every_fault_was_planted_in_the_cells_that_tell_and_a_harmless_variant_in_all(recorded) -> None:
    cells = select_cells(DEFAULT_CELLS)
    needed = {
        (fault.name, str(cell))
        for _, fault in select_faults()
        for cell in _cells_that_tell(fault, cells_for(fault, cells))
    }
    assert needed <= {(mutant.fault, mutant.cell) for mutant in recorded.mutants}, AGAIN


def test_every_fault_is_caught_and_blamed_and_nothing_harmless_fails(recorded) -> None:
    assert recorded.missed == recorded.alarms == []
    assert recorded.ok


def test_one_device_is_right_with_a_fault_that_takes_a_mesh(recorded) -> None:
    of_mesh = {fault.name for _, fault in select_faults() if fault.mesh != SINGLE}
    alone = [mutant for mutant in recorded.mutants if mutant.fault in of_mesh and mutant.mesh == SINGLE]
    assert {mutant.fault for mutant in alone} == of_mesh, AGAIN
    assert [mutant.fault for mutant in alone if mutant.caught] == []


def test_the_page_is_what_was_recorded(recorded) -> None:
    assert (GOLDEN / "MUTATIONS.md").read_text() == render_markdown(recorded, list(fault_groups().values())), AGAIN


def test_todays_budgets_catch_what_was_caught(recorded, judged_again, budgets) -> None:
    again = judged_again(budgets)
    assert again.missed == again.alarms == []
    assert len(again.caught) >= len(recorded.caught), "the budgets catch less: a limit is too wide"


def test_wider_budgets_would_be_noticed(recorded, judged_again, budgets) -> None:
    def wide(factor: float) -> Budgets:
        rules = (replace(r, factor=r.factor * factor, limit=r.limit and r.limit * factor) for r in budgets.ordered)
        return replace(budgets, rules=tuple(rules), fitted=None, fallback=())

    assert len(judged_again(wide(4)).caught) < len(recorded.caught)
    assert judged_again(wide(2.0**40)).missed
