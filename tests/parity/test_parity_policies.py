"""A right port passes in every dtype policy, emulated or not: alone, chained, and going backwards."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paritygate.catalog.select import DEFAULT_CELLS, policies, select_cells
from paritygate.core.run import Run

ROOT = Path(__file__).parents[2]
OTHERS = tuple(name for name in policies() if name not in {cell.dtype for cell in select_cells(DEFAULT_CELLS)})
# The cases that a policy is run on: one of each head, and two that are differentiated. Emulated gradients are slow to
# compile, so one arithmetic of each kind stands for the rest: a sum of products of 16 bits, scaled operands of 8.
CASES = {
    "tiny-scout.long": OTHERS,
    "classify-maverick.padded": OTHERS,
    "tiny-scout.train": ("mixed", "bf16-wide", "f32@bf16x3", "bf16@e4m3-channel"),
    "tiny-multimodal.train": ("mixed", "bf16-wide"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_every_policy_passes_and_nothing_new_is_found(case, tmp_path):
    command = [sys.executable, "-m", "paritygate", "run", case, "--cells", ",".join(CASES[case]), "--json"]
    environ = {**os.environ, "PARITYGATE_RUNS": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(done.stdout)
    (folder,) = tmp_path.iterdir()
    run = Run.open(folder)
    rows = list(run.judged())
    assert Counter(row.verdict for row in rows) == {"pass": len(rows)}
    mode = "gradient" if "train" in case else "chained"
    seen = {row.drift.cell.split("/")[0] for row in rows if row.drift.mode == mode}
    assert seen == set(CASES[case])
    assert run.lint().new == ()
