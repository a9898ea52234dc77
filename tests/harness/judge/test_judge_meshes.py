"""What only meshes show: told from what one device shows too, with the axis, and the part of it, in words."""

import pytest
from judge_rows import CASE, F64, matrix, row

from paritygate.catalog.meshes import MESHES
from paritygate.catalog.select import layout_of
from paritygate.core.cell import Cell
from paritygate.core.drift import Diagnosis, Reassociated, Row, Verdict
from paritygate.core.family import PromptRow
from paritygate.core.where import Where
from paritygate.judge.diagnose import diagnose
from paritygate.judge.evidence import with_evidence
from paritygate.judge.meshes import faulty_layouts, parts_of

CELLS = {name: f"f64/{name}/cpu" for name in MESHES}
LETTERS = {"B": "batch", "T": "length", "D": "embed", "N": "heads"}


def diagnosed(failing: dict[str, set[str]]) -> list[Row]:
    """Rows of one value in f64, by layout."""
    return diagnose(matrix(("a:out",), {(CELLS[name], "isolated"): some for name, some in failing.items()}), {"f64"})


def of(rows: list[Row], layout: str) -> Row:
    return next(each for each in rows if each.drift.cell == CELLS[layout])


def test_what_one_device_shows_too_is_semantic_on_every_mesh():
    rows = diagnosed({"single": {"a:out"}, "tp2": {"a:out"}})
    assert {each.diagnosis for each in rows} == {Diagnosis.SEMANTIC}


def test_what_only_a_mesh_shows_is_sharding_in_low_precision_too():
    cells = {"f64/single/cpu": (), "f64/tp2/cpu": {"a:out"}, "bf16/tp2/cpu": {"a:out"}}
    rows = diagnose(matrix(("a:out",), {(cell, "isolated"): some for cell, some in cells.items()}), {"f64"})
    assert [each.diagnosis for each in rows if each.verdict is not Verdict.PASS] == [Diagnosis.SHARDING] * 2


def test_what_float64_does_not_show_on_the_mesh_is_precision():
    cells = {"f64/single/cpu": (), "f64/tp2/cpu": (), "bf16/tp2/cpu": {"a:out"}}
    rows = diagnose(matrix(("a:out",), {(cell, "isolated"): some for cell, some in cells.items()}), {"f64"})
    assert rows[-1].diagnosis is Diagnosis.PRECISION


def test_without_one_device_it_is_not_said_which():
    (found,) = diagnosed({"tp2": {"a:out"}})
    assert found.diagnosis is Diagnosis.SEMANTIC
    assert found.reason == "over; run f64 on one device too to tell a fault of sharding from another"


def test_copies_that_differ_are_sharding_whatever_else_ran():
    wrong = row("a:out", Verdict.MISMATCH, cell=CELLS["tp2"], placement="copies on devices 0 and 1 differ")
    (found,) = diagnose([wrong], {"f64"})
    assert (found.diagnosis, found.reason) == (Diagnosis.SHARDING, "")


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        (("tp2", "dp2tp4"), ("dp2", "sp2"), "in every layout with tp, in none without"),
        (("tp2",), (), "in every layout with tp"),
        (("dp2sp2tp2",), ("dp2",), "in every layout with sp and tp, in none without"),
        (("tp4",), ("tp2",), "in tp4, not in tp2"),
        (("tp2", "sp2"), ("dp2",), "in tp2 and sp2, not in dp2"),
    ],
)
def test_the_axis_is_read_off_the_layouts(wrong, right, words):
    rows = diagnosed({"single": set(), **{name: {"a:out"} for name in wrong}, **{name: set() for name in right}})
    said = faulty_layouts(rows, {cell: MESHES[name] for name, cell in CELLS.items()})
    assert set(said.values()) == {words}
    assert len(said) == len(wrong)


def test_the_parts_of_devices_are_blocks_of_a_value():
    drift = row(cell=CELLS["dp2sp2tp2"], layout="B T N H", shape=(2, 10, 4, 3)).drift
    found = {block.axis: (block.name, length) for block, length in parts_of(drift, MESHES["dp2sp2tp2"], LETTERS, ())}
    assert found == {"B": ("dp part", 1), "T": ("sp part", 5), "N": ("tp part", 2)}
    assert [block.name for block, _ in parts_of(drift, layout_of("tp8"), LETTERS, ())] == []  # 4 heads are left whole
    padded = [block.axis for block, _ in parts_of(drift, MESHES["sp2"], LETTERS, (PromptRow(pad_left=1),))]
    assert padded == []  # tokens are counted from the first real one


def test_the_edge_of_a_part_is_said():
    from paritygate.catalog.families.llama4 import FAMILY
    from paritygate.core.family import Case
    from paritygate.core.golden import Golden

    where = (Where("T", "from", (19,), 38, 1.0),)
    fields = {"metrics": {"rel_l2": 0.03}, "where": where, "layout": "B T D", "shape": (2, 38, 40)}
    rows = diagnose([row(cell=F64, verdict=Verdict.PASS), row(cell=CELLS["sp2"], **fields)], {"f64"})
    golden = Golden(Case.parse("llama4", "tiny-scout.long"), FAMILY.preset("tiny-scout").config, {}, {}, (), {}, {}, "")
    layouts = {each.drift.cell: MESHES[Cell.parse(each.drift.cell).mesh] for each in rows}
    found = with_evidence(rows, {CASE: golden}, {"llama4": FAMILY}, layouts)[1]
    assert found.evidence == (
        "f64 differs by 3e-2 from the first token of the second sp part on; in every layout with sp"
    )


def test_a_difference_to_one_device_is_held_to_its_bound():
    from judge_rows import BUDGETS, golden, port

    from paritygate.judge.decide import judge

    def verdict(apart: float) -> Row:
        drift = row(
            cell="bf16/tp2/cpu", dtype="bfloat16", metrics={"rel_l2": 1e-3, "max_abs": 0.0}, scale=1.0,
            reassociated=Reassociated(apart, 1e-3),
        ).drift  # fmt: skip
        one = golden(port(floors={"isolated": {"bf16": {"rel_l2": 1e-3, "max_abs": 1e-3}}}, modes=("isolated",)))
        (found,) = judge([drift], {CASE: one}, ["bf16/tp2/cpu"], ["isolated"], BUDGETS, {})
        return found

    assert verdict(1e-3).verdict is Verdict.PASS
    far = verdict(2e-3)
    assert far.verdict is Verdict.OVER_BUDGET
    assert far.reason.partition(";")[0] == (
        "0.002 from what one device gives (limit 0.001, the most that other orders of its sums make)"
    )
