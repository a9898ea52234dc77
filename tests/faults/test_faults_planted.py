"""Each planted fault fails the run, at its own site, as `semantic`; harmless rewrites pass in every dtype."""

import os
import re
import shutil
from pathlib import Path

import pytest

from faults.faults import CACHED, FAULTS, HARMLESS, IMAGES, Fault
from paritygate.catalog.select import select_cells
from paritygate.core.cell import Mode
from paritygate.core.drift import Diagnosis, Row
from paritygate.core.errors import ExitCode
from paritygate.core.family import Case
from paritygate.judge.budgets import read_budgets
from paritygate.judge.decide import judge
from paritygate.judge.gate import exit_code
from paritygate.judge.locate import first_divergence
from paritygate.replay.launch import replay
from paritygate.store.golden import GoldenStore

ROOT = Path(__file__).parents[2]
WHOLE = ("tiny", Case("llama4", "tiny-scout", "long"))
IMAGE = ("vision", Case("llama4-multimodal", "tiny-vision", "tiles"))
IN_PIECES = ("text", Case("llama4", "tiny-scout", "decode"))


def plant(fault: Fault, folder: Path) -> Path:
    """A copy of the candidate with the fault, in a folder that goes first on the worker's path."""
    package = folder / "jax_llama4"
    shutil.copytree(ROOT / "impl" / "jax_llama4", package)
    source = (package / fault.file).read_text()
    assert source.count(fault.old) == 1, f"{fault.name}: the place to change is not there once"
    (package / fault.file).write_text(source.replace(fault.old, fault.new))
    return folder


@pytest.fixture
def run_with(tmp_path, monkeypatch):
    """The exit code and rows of a run of the candidate with a fault."""

    def run(fault: Fault, cells: str, suite: str, case: Case) -> tuple[ExitCode, list[Row]]:
        monkeypatch.setenv("PYTHONPATH", str(plant(fault, tmp_path)), prepend=os.pathsep)
        store = GoldenStore(ROOT / "golden")
        found = replay(suite, [case], select_cells(cells), list(Mode), store, tmp_path / "runs", ())
        goldens = {case.id: store.read(suite, case.id)}
        budgets = read_budgets(ROOT / "golden" / "budgets.toml")
        rows = judge(found.drifts(), goldens, found.info.cells, found.info.modes, budgets, {})
        return exit_code(rows, found.info.problems), rows

    return run


def _without_layer(address: str) -> str:
    return re.sub(r"\blayers\.\d+\.", "", address)


@pytest.mark.parametrize(
    ("fault", "shown_by"),
    [(fault, WHOLE) for fault in FAULTS] + [(fault, IMAGE) for fault in IMAGES],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_fails_at_its_site_as_semantic(run_with, fault, shown_by):
    code, rows = run_with(fault, "f64", *shown_by)
    assert code is ExitCode.DRIFT
    (divergence,) = first_divergence(rows)
    assert divergence.row.drift.address == fault.at
    assert divergence.row.diagnosis is Diagnosis.SEMANTIC
    # Whatever else fails is the same code in another place, or put down to one that fails by itself.
    to_blame = {row.drift.address for row in rows if row.diagnosis is Diagnosis.SEMANTIC}
    assert {_without_layer(address) for address in to_blame} <= {_without_layer(fault.at), *fault.also}
    assert {row.origin for row in rows if row.diagnosis is Diagnosis.PROPAGATED} <= to_blame


@pytest.mark.parametrize("fault", CACHED, ids=lambda fault: fault.name)
def test_a_fault_of_the_cache_shows_where_it_begins(run_with, fault):
    code, rows = run_with(fault, "f64", *IN_PIECES)
    assert code is ExitCode.DRIFT
    (divergence,) = first_divergence(rows)
    assert divergence.row.drift.address == fault.at
    assert divergence.row.diagnosis is Diagnosis.SEMANTIC


@pytest.mark.parametrize("variant", HARMLESS, ids=lambda variant: variant.name)
def test_a_harmless_rewrite_passes_in_every_dtype(run_with, variant):
    code, rows = run_with(variant, "f64,f32,f16,bf16", *WHOLE)
    assert [row.drift.address for row in rows if row.verdict != "pass"] == []
    assert code is ExitCode.PASS
