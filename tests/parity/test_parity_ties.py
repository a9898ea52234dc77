"""Near-tied routing: a right port passes with its flips excused and counted; a wrong one hides behind none of them."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from paritygate.catalog.select import select_cells, suites
from paritygate.core.cell import Mode
from paritygate.judge.budgets import read_budgets
from paritygate.judge.decide import judge
from paritygate.judge.gate import exit_code, summary
from paritygate.judge.locate import first_divergence
from paritygate.replay.launch import replay
from paritygate.store.golden import GoldenStore

ROOT = Path(__file__).parents[2]
STORE = GoldenStore(ROOT / "golden")


@pytest.fixture
def run_ties(tmp_path):
    """The run and its rows."""

    def run(cells: str, **options):
        cases = list(suites()["ties"])
        found = replay(
            "ties", cases, select_cells(cells), [Mode.ISOLATED, Mode.CHAINED], STORE, tmp_path / "runs", (), **options
        )
        goldens = {case.id: STORE.read("ties", case.id) for case in cases}
        budgets = read_budgets(ROOT / "golden" / "budgets.toml")
        return found, judge(found.drifts(), goldens, found.info.cells, found.info.modes, budgets, {})

    return run


def test_flips_are_excused_and_what_is_behind_them_is_compared_without_them(run_ties):
    found, rows = run_ties("f64,bf16")
    assert exit_code(rows, found.info.problems) == 0
    assert {row.drift.address for row in rows if row.verdict == "skipped"} <= {"loss:out"}, "one number for all tokens"
    flipped = [row for row in rows if row.excuse]
    assert {row.drift.cell for row in flipped} == {"bf16/single/cpu"}
    assert {"isolated", "chained"} == {row.drift.mode for row in flipped}
    assert summary(rows).flips_excused == sum(row.excuse.excused + row.excuse.cascaded for row in flipped) > 0
    behind = [row.drift.agreeing for row in rows if row.drift.agreeing]
    assert behind and all(0 < agreeing.tokens < agreeing.of for agreeing in behind)
    assert all(agreeing.floors for agreeing in behind)


def test_with_golden_routing_all_tokens_are_compared_and_no_choice_is(run_ties):
    found, rows = run_ties("f64,bf16", routing="golden")
    assert found.info.routing == "golden"
    assert exit_code(rows, found.info.problems) == 0
    assert not [row for row in rows if row.drift.agreeing]
    skipped = Counter(row.drift.port for row in rows if row.verdict == "skipped")
    assert skipped == {"out.choice": 4 * 2 * 2}, "four layers, two cells, two modes"


def test_a_router_that_takes_another_expert_fails_in_every_dtype(run_ties, tmp_path, monkeypatch):
    package = shutil.copytree(ROOT / "impl" / "jax_llama4", tmp_path / "impl" / "jax_llama4")
    source, right = (package / "moe.py").read_text(), "jax.lax.top_k(logits, self.top_k)[1]"
    assert source.count(right) == 1
    second = "jax.lax.top_k(logits, self.top_k + 1)[1][:, 1:]"
    (package / "moe.py").write_text(source.replace(right, second))
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
    found, rows = run_ties("f64,bf16")
    assert exit_code(rows, found.info.problems) == 1
    assert [(d.row.drift.address, d.row.diagnosis) for d in first_divergence(rows)] == [
        ("layers.0.moe.router:out.choice", "semantic")
    ] * 2
    assert "against its own scores" in first_divergence(rows)[0].row.reason
