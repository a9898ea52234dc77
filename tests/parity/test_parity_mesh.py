"""The suite `mesh` in some of its layouts: every value right, its copies equal, laid as promised; programs recorded."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paritygate.catalog.select import layout_of, suites
from paritygate.core.cell import Cell
from paritygate.core.run import Run
from paritygate.judge.gate import exit_code

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
# Each kind of axis and both types, a layout that does not divide one preset, and low precision on a mesh; all of them
# are `make meshes`.
CELLS = "f64 x single,dp2sp2tp2-explicit,tp8; bf16 x fsdp2tp2ep2"
TP8 = "tp8 does not divide num_key_value_heads = 4"
PAGED = "the candidate's paged cache takes auto axes only"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, "-m", "paritygate", "run", "mesh", "--cells", CELLS, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PARITYGATE_RUNS": str(runs)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (folder,) = runs.iterdir()
    return Run.open(folder)


def test_every_value_is_right_on_every_mesh_or_was_left_out_by_the_spec(run: Run) -> None:
    rows = list(run.judged())
    why = Counter(row.reason for row in rows if row.verdict == "skipped")
    assert set(why) == {TP8, PAGED}
    assert {row.drift.case for row in rows if row.reason == PAGED} == {"mesh-text.batch-paged"}
    assert {row.verdict for row in rows} == {"pass", "skipped"}
    assert exit_code(rows, run.info.problems) == 0
    assert {row.drift.case for row in rows if row.verdict == "pass"} == {case.id for case in suites()["mesh"]}


def test_float64_agrees_on_every_mesh(run: Run) -> None:
    drifts = [d for d in run.drifts() if d.cell.startswith("f64/") and "rel_l2" in d.metrics]
    limits = {"isolated": 1e-12, "chained": 1e-12, "gradient": 1e-10}
    meshes = Counter(Cell.parse(d.cell).mesh for d in drifts)
    assert len(meshes) == 3 and min(meshes.values()) > 60
    assert {d.address: d.metrics["rel_l2"] for d in drifts if d.metrics["rel_l2"] > limits[d.mode]} == {}


def test_low_precision_is_no_farther_from_one_device_than_sums_may_be(run: Run) -> None:
    low = [d for d in run.drifts() if d.cell[:3] != "f64" and d.mode != "gradient" and "rel_l2" in d.metrics]
    assert [d.address for d in low if d.reassociated is None] == []
    beside = [(d.reassociated.apart, d.reassociated.bound) for d in low if d.reassociated]
    assert len(beside) > 150
    assert all(apart <= bound for apart, bound in beside)
    assert any(apart > 0.0 for apart, _ in beside)  # the mesh did add in another order


def test_programs_are_those_that_were_recorded(run: Run) -> None:
    found = {program.cell for program in run.programs()}
    on_meshes = {cell for cell in run.info.cells if layout_of(Cell.parse(cell).mesh).devices > 1}
    assert found == on_meshes
    assert run.program_changes().failing == ()
    recorded = {path.stem.replace(".", "/") for path in (ROOT / "golden/programs/mesh").glob("*.jsonl")}
    assert "bf16/fsdp2tp2ep2/cpu" in found & recorded


def test_the_report_shows_programs(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert "mesh-text.batch forward 1" in page and "all-reduce" in page
