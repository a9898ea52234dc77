"""The main jobs: every suite passes on the committed goldens, and its float64 cells agree to 1e-12."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paritygate.catalog.select import suites
from paritygate.core.run import Run
from paritygate.judge.gate import exit_code

# A suite in all its cells is compiled from nothing, and on two cores beside another test.
pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
AS_SHIPPED = "tiny"  # compiled as XLA does for a user
# Cells and modes that each suite is run in, and its least number of float values in float64.
SUITES = {
    "tiny": ("f64,f32,f16,bf16", {"isolated", "chained"}, 900),
    "text": ("f64,f32,bf16", {"isolated", "chained", "gradient"}, 1500),
    "vision": ("f64,f32,f16,bf16", {"isolated", "chained", "gradient"}, 900),
    "classify": ("f64,f32,bf16", {"isolated", "chained"}, 400),
}


@pytest.fixture(scope="module", params=SUITES)
def run(request, tmp_path_factory):
    runs, (cells, _, _) = tmp_path_factory.mktemp("runs"), SUITES[request.param]
    done = subprocess.run(
        [sys.executable, "-m", "paritygate", "run", request.param, "--cells", cells, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PARITYGATE_RUNS": str(runs)} | ({"XLA_FLAGS": ""} if request.param == AS_SHIPPED else {}),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (folder,) = runs.iterdir()
    return done, Run.open(folder)


def test_every_port_of_every_cell_and_mode_passes(run):
    done, opened = run
    rows = list(opened.judged())
    cells, modes, _ = SUITES[opened.info.suite]
    assert Counter(row.verdict for row in rows) == {"pass": len(rows)}
    assert len({row.drift.key for row in rows}) == len(rows)
    seen = {(row.drift.cell.split("/")[0], row.drift.mode) for row in rows}
    assert seen == {(dtype, mode) for dtype in cells.split(",") for mode in modes}
    assert {row.drift.case for row in rows} == {case.id for case in suites()[opened.info.suite]}
    assert exit_code(rows, opened.info.problems) == 0
    assert json.loads(done.stdout)


def test_everything_is_covered(run):
    coverage = run[1].coverage()
    assert coverage.gaps == ()
    assert coverage.parts["parameter"] == coverage.parts["candidate parameter"] > 90
    assert all(step.ports for step in coverage.glue)
    assert {branch.key.removeprefix("text_config.") for branch in coverage.unexercised} >= {"attention_bias"}


def test_float64_agrees(run):
    _, _, least = SUITES[run[1].info.suite]
    drifts = [d for d in run[1].drifts() if d.cell.startswith("f64/") and "rel_l2" in d.metrics]
    limits = {"isolated": 1e-12, "chained": 1e-12, "gradient": 1e-10}
    assert len(drifts) > least
    assert {d.address: d.metrics["rel_l2"] for d in drifts if d.metrics["rel_l2"] > limits[d.mode]} == {}


def test_what_the_run_cost_is_recorded(run):
    info = run[1].info
    assert info.wall_s > 0
    assert info.compilations > 0
    assert info.peak_memory_bytes < 3 * 2**30
    assert (run[1].folder / "report.html").stat().st_size > 10_000


def test_rows_as_a_table(run):
    table = run[1].rows()
    wanted = {"case", "cell", "mode", "site", "port", "rel_l2", "rel_l2_x", "rel_l2_limit", "verdict"}
    assert wanted <= set(table.columns)
    low = table[~table.cell.str.startswith("f64") & (table.kind == "float")]
    assert (low.rel_l2_x <= low.rel_l2_limit).all()
