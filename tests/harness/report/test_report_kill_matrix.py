"""The kill matrix in a report, as text and as Markdown."""

from dataclasses import replace

from paritygate.core.drift import Diagnosis
from paritygate.core.fault import Fault, FaultGroup
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.report.data import ReportData
from paritygate.report.kill_matrix import matrix_parts, render_markdown, render_text
from paritygate.report.sections import kills
from paritygate.report.text import render_parts

F64, BF16 = "f64/single/cpu", "bf16/single/cpu"
CASE = "toy/toy-2.plain"

GROUPS = [
    FaultGroup("norm", "toy", (), doc="The root mean square."),
    FaultGroup("same", "toy", (Fault("reordered", "harmless", (), CASE, equivalent="a sum in another order"),)),
]


def mutant(fault: str, cell: str, caught: bool, site: bool = True, why: bool = True, **fields) -> Mutant:
    values = {"group": "norm", "kind": "semantic", "expected": cell == F64} | fields
    blamed, diagnosis = ("a:out", Diagnosis.SEMANTIC) if caught else ("", Diagnosis.NONE)
    return Mutant(
        fault, case=CASE, cell=cell, caught=caught, blamed=blamed, diagnosis=diagnosis,
        blamed_right=caught and site, diagnosis_right=caught and why, **values,
    )  # fmt: skip


MATRIX = KillMatrix(
    (
        mutant("eps", F64, True),
        mutant("eps", BF16, False),
        mutant("gain", F64, True, site=False),
        mutant("gain", BF16, True, why=False),
        mutant("mean", F64, False),
        mutant("mean", BF16, False),
        mutant("reordered", F64, False, group="same", kind="harmless", expected=False),
        mutant("reordered", BF16, True, group="same", kind="harmless", expected=False),
    )
)

TEXT = """\
norm       f64       bf16
eps        right     -
gain       site      why
mean       missed    -

same       f64       bf16
reordered  pass      ALARM

Missed
  mean (f64/single/cpu)

Put down to another site, or for another reason
  gain (f64/single/cpu): a:out semantic
  gain (bf16/single/cpu): a:out semantic

Harmless, and fails
  reordered (bf16/single/cpu): a:out semantic

Equivalent, so harmless
  reordered: a sum in another order

2 of 3 faults caught by the first cell that can see them
1 of 3 squares with a fault caught name the right site and diagnosis
1 of 1 harmless variants fail
"""


def test_as_text() -> None:
    assert "\n".join(line.rstrip() for line in render_text(MATRIX, GROUPS).splitlines()) + "\n" == TEXT


def test_as_markdown() -> None:
    page = render_markdown(MATRIX, GROUPS)
    for words in (
        "- 2 of 3 faults caught by the first cell that can see them\n",
        "## norm\n\nThe root mean square.\n\n| fault | kind | f64 | bf16 |\n|---|---|---|---|\n",
        "| gain | semantic | site | why |\n",
        "## Equivalent, so harmless\n\n- reordered: a sum in another order\n",
    ):
        assert words in page


def test_a_fault_that_takes_a_mesh_has_it_beside_its_name_and_no_square_for_one_device() -> None:
    on_mesh = [mutant("psum", cell, cell != F64, expected=cell != F64) for cell in (F64, "f64/tp4/cpu", "bf16/tp4/cpu")]
    matrix = KillMatrix((mutant("eps", F64, True), *on_mesh))
    page = render_markdown(matrix, GROUPS)
    assert "| fault | kind | f64 | bf16 |\n" in page
    assert "| eps | semantic | right |  |\n| psum (tp4) | semantic | right | right |\n" in page
    assert "eps         right\npsum (tp4)  right     right\n" in render_text(matrix, GROUPS)


def test_cells_of_several_platforms_are_written_out() -> None:
    matrix = KillMatrix((mutant("eps", F64, True), mutant("eps", "f64/single/tpu", True)))
    assert "| fault | kind | f64/cpu | f64/tpu |\n" in render_markdown(matrix, GROUPS)


def test_a_report_has_the_rates_what_is_wrong_and_each_group_folded() -> None:
    text = "\n".join(line.rstrip() for line in render_parts(matrix_parts(MATRIX), 100))
    assert " ".join(text.partition("\n\n")[0].split()).startswith(
        "2 of 3 faults caught by the first cell that can see them; "
    )
    for line in (
        "Missed\nmean (f64/single/cpu)",
        "norm: 3 faults and harmless variants\n  fault  kind      f64     bf16\n  eps    semantic  right   -",
        "same: 1 faults and harmless variants\n  fault      kind      f64   bf16\n  reordered  harmless  pass  ALARM",
    ):
        assert line in text


def test_a_run_whose_cases_show_no_fault_has_no_such_section(passing: ReportData) -> None:
    assert kills.build(passing) == []
    parts = kills.build(replace(passing, kill_matrix=MATRIX))
    assert [type(part).__name__ for part in parts[-3:]] == ["Details", "Details", "Text"]
