"""Verbs that only look at files start light: the real command line runs in a child, and its sys.modules are read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paritygate.core.drift import Diagnosis, Drift, Element, Judgement, Row, Verdict
from paritygate.core.run import Run, RunInfo

ROOT = Path(__file__).resolve().parents[2]

HEAVY = {"torch", "transformers", "jax", "jaxlib", "flax", "pandas", "rich"}
ARRAYS = {"numpy", "ml_dtypes"}
# Of paritygate, what `--help` and `list` have no use for.
STAGES = {f"paritygate.{package}" for package in ("store", "reference", "replay", "audit", "judge", "report")}
NOUNS = ("families", "cases", "sites", "cells")
MARK = "\n--- sys.modules "

# What the console script does, and then a look at what that took.
CHILD = f"""
import json, sys
sys.argv[0] = "paritygate"
from paritygate.cli.main import main
try:
    code = main()
except SystemExit as exit:
    code = exit.code
print({MARK!r} + json.dumps([code or 0, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one judged run, `r1`: a value that passes and one that does not."""
    folder = tmp_path_factory.mktemp("runs")
    cell = "bf16/single/cpu"
    info = RunInfo(
        id="r1",
        suite="tiny",
        cases=("tiny-scout.long",),
        cells=(cell,),
        modes=("chained",),
        started="20260101T000000Z",
        command=("paritygate", "run"),
        goldens={"tiny-scout.long": "0" * 64},
        versions={"jax": "0.10"},
    )

    def row(order: int, port: str, value: float, verdict: Verdict, diagnosis: Diagnosis) -> Row:
        worst = (Element((0, 1, 2), 1.0, 1.0 + value),)
        drift = Drift(
            "tiny-scout.long", cell, "chained", "layers.0.attn", port, 0, order, "float", "B T D", (2, 3, 4),
            "bfloat16", {"rel_l2": value}, 1.5, worst=worst,
        )  # fmt: skip
        judged = Judgement("rel_l2", value, 0.01, 0.004, value / 0.01, 2.0, "low-rel_l2", verdict is Verdict.PASS)
        return Row(drift, verdict, diagnosis, (judged,))

    run = Run(folder / "r1", info).save(info)
    run.save_rows(
        [
            row(0, "inner.q", 0.01, Verdict.PASS, Diagnosis.NONE),
            row(1, "out", 0.5, Verdict.OVER_BUDGET, Diagnosis.PRECISION),
        ]
    )
    return folder


def run_in_child(*arguments: str, program: str = CHILD, runs: Path = ROOT) -> tuple[int, str, set[str]]:
    """Exit code, text on standard output and imported top-level modules, packages of ours by their whole name."""
    environ = {**os.environ, "PARITYGATE_RUNS": str(runs), "PARITYGATE_GOLDEN": str(runs / "golden")}
    child = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, env=environ
    )
    text, mark, last = child.stdout.rpartition(MARK)
    assert mark, child.stdout + child.stderr
    code, modules = json.loads(last)
    ours = {".".join(name.split(".")[:2]) for name in modules if name.startswith("paritygate.")}
    return code, text, {name.partition(".")[0] for name in modules} | ours


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], *(["list", noun] for noun in NOUNS)], ids=" ".join
)
def test_looking_imports_neither_torch_nor_jax(arguments: list[str]) -> None:
    code, text, modules = run_in_child(*arguments)
    assert code == 0, text
    assert text.strip(), "the verb said nothing"
    assert not modules & (HEAVY | ARRAYS)
    assert not modules & STAGES


def test_metrics_are_listed_without_torch_or_jax() -> None:
    """Metrics are functions of NumPy arrays: that much they bring."""
    code, text, modules = run_in_child("list", "metrics")
    assert code == 0 and "rel_l2" in text
    assert not modules & HEAVY


@pytest.mark.parametrize(
    ("arguments", "said", "expected"),
    [
        (["show", "r1"], "1 of 2", 0),
        (["show", "r1", "layers.0.attn:out"], "1 row", 0),
        (["show", "latest", "*", "--json"], '"rel_l2"', 0),
        (["report", "r1"], "report.html", 0),
        (["report", "r1", "--text", "all"], "layers.0.attn", 0),
        (["locate", "r1"], "layers.0.attn:out", 1),
        (["gate", "r1"], "layers.0.attn:out", 1),
        (["compare", "r1", "r1"], "0 changed rows", 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_reading_a_run_takes_files_only(runs: Path, arguments: list[str], said: str, expected: int) -> None:
    code, text, modules = run_in_child(*arguments, runs=runs)
    assert code == expected, text
    assert said in text
    assert not modules & (HEAVY | ARRAYS)


@pytest.mark.parametrize(
    ("arguments", "module"),
    [(["--help"], "pandas"), (["show", "r1"], "numpy"), (["--help"], "rich"), (["--help"], "paritygate.judge")],
)
def test_the_check_can_fail(runs: Path, arguments: list[str], module: str) -> None:
    guilty = CHILD.replace("import json, sys", f"import json, sys, {module}")
    _, _, modules = run_in_child(*arguments, program=guilty, runs=runs)
    assert module in modules & (HEAVY | ARRAYS | STAGES)
