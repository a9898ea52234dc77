"""The main job: `paritygate run tiny` on the committed goldens passes, and its float64 cell agrees to 1e-12."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paritygate.core.run import Run
from paritygate.judge.gate import exit_code

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, "-m", "paritygate", "run", "tiny", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PARITYGATE_RUNS": str(runs)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (folder,) = runs.iterdir()
    return done, Run.open(folder)


def test_every_port_of_every_cell_and_mode_passes(run):
    done, opened = run
    rows = list(opened.judged())
    assert Counter(row.verdict for row in rows) == {"pass": len(rows)}
    assert len({row.drift.key for row in rows}) == len(rows)
    cells = Counter((row.drift.cell.split("/")[0], row.drift.mode) for row in rows)
    assert set(cells) == {(d, m) for d in ("f64", "f32", "bf16", "f16") for m in ("isolated", "chained")}
    assert len({row.drift.case for row in rows}) == 8
    assert exit_code(rows, opened.info.problems) == 0
    assert json.loads(done.stdout)


def test_float64_agrees_to_1e_12(run):
    drifts = [d for d in run[1].drifts() if d.cell.startswith("f64/") and "rel_l2" in d.metrics]
    assert len(drifts) > 900
    assert max(d.metrics["rel_l2"] for d in drifts) <= 1e-12


def test_what_the_run_cost_is_recorded(run):
    info = run[1].info
    assert info.wall_s > 0
    assert info.compilations > 0
    assert info.peak_memory_bytes < 3 * 2**30
    assert (run[1].folder / "report.html").stat().st_size > 10_000


def test_rows_as_a_table(run):
    table = run[1].rows()
    assert {"case", "cell", "mode", "site", "port", "rel_l2", "rel_l2_x", "rel_l2_limit", "verdict"} <= set(
        table.columns
    )
    low = table[~table.cell.str.startswith("f64") & (table.kind == "float")]
    assert (low.rel_l2_x <= low.rel_l2_limit).all()
