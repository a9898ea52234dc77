"""Parity items in one process: what they are called, how they end, and the run that is written of them."""

import json
import shutil
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from paritygate.core.run import Run

Project = Callable[..., pytest.RunResult]
Replays = Callable[[], list[str]]
ONE = ("-p", "no:xdist")
CASE = "toy-2.plain"


def run_of(pytester: pytest.Pytester) -> Run:
    (folder,) = (pytester.path / "reports" / "runs").iterdir()
    return Run.open(folder)


def said(result: pytest.RunResult) -> str:
    return result.stdout.str() + result.stderr.str()


def test_ids_are_those_of_rows_and_one_run_is_written(
    pytester: pytest.Pytester, project: Project, replays: Replays
) -> None:
    result = project("-v", *ONE)
    result.assert_outcomes(passed=10)
    for cell in ("f64", "bf16"):
        for mode in ("isolated", "chained"):
            result.stdout.fnmatch_lines([f"*::test_parity[[]{CASE}/{cell}/single/cpu/{mode}] PASSED*"])
    run = run_of(pytester)
    assert (run.folder / "report.html").is_file() and not (run.folder / "parts").exists()
    assert (run.info.cells, run.info.modes) == (("f64/single/cpu", "bf16/single/cpu"), ("isolated", "chained"))
    assert {str(row.verdict) for row in run.judged()} == {"pass"}
    assert run.info.compilations == 14 and run.info.problems == () and run.info.skipped == ()
    assert run.info.command[0] == "pytest"
    assert {path.name for path in (run.folder / "workers").iterdir()} == {
        f"{cell}-single-cpu.main.0.log" for cell in ("f64", "bf16")
    }
    assert len(replays()) == 2, "isolated and chained share one replay of their cell"
    result.stdout.fnmatch_lines(
        [
            "=* paritygate *=",
            "PASS  All 32 values of 1 case are within budget.",
            "compiled  f64/single/cpu  in main: 7 programs (2 from the compile cache), 0.5 s of 1.0 s",
            f"report  reports/runs/{run.folder.name}/report.html",
            f"next    open reports/runs/{run.folder.name}/report.html",
        ]
    )


def test_node_ids_and_k_choose(pytester: pytest.Pytester, project: Project, replays: Replays) -> None:
    project(*ONE, f"test_port.py::test_parity[{CASE}/bf16/single/cpu/chained]").assert_outcomes(passed=1)
    assert replays() == [f"bf16/single/cpu {CASE} chained"]
    assert run_of(pytester).info.modes == ("chained",)
    project(*ONE, "-k", "f64 and isolated").assert_outcomes(passed=1, deselected=9)
    assert replays()[1:] == [f"f64/single/cpu {CASE} isolated"]


def test_a_wrong_port_fails_in_the_harness_own_words(pytester: pytest.Pytester, project: Project) -> None:
    result = project(*ONE, "--junitxml=junit.xml", STAND_IN="doubled")
    result.assert_outcomes(passed=6, failed=4)
    run = run_of(pytester)
    shown = f"reports/runs/{run.folder.name}"
    result.stdout.fnmatch_lines(
        [
            f"{CASE} f64/single/cpu  head:out  isolated  semantic  rel_l2 1 (limit 1e-12, rule 'f64')",
            "    f64 differs by 1e0 everywhere",
            "    isolated and chained: the difference arises inside head",
            f"{CASE}/f64/single/cpu/isolated: pass 7, over budget 1",
            f"next    paritygate show {shown} head:out",
            "FAIL  4 of 32 values of 1 case are not a pass.",
            "Look first at head:out*Semantic: the float64*",
            f"next    paritygate locate {shown}",
        ]
    )
    assert "Traceback" not in said(result) and "plugin.py" not in said(result)
    tests = {test.get("name"): test for test in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    chained = tests[f"test_parity[{CASE}/bf16/single/cpu/chained]"]
    told = {p.get("name"): p.get("value") for p in chained.iter("property")}
    assert (
        told.items()
        >= {
            "parity_id": f"{CASE}/bf16/single/cpu/chained",
            "parity_verdicts": "pass=7 over_budget=1",
            "parity_worst_row": f"{CASE}/bf16/single/cpu/chained/head:out",
            "parity_worst_limit_x": "2.0",
            "parity_diagnosis": "semantic",
            "parity_run": shown,
        }.items()
    )
    assert float(told["parity_worst_x"] or 0) > 100


def test_low_precision_is_judged_beside_float64_in_any_order(
    pytester: pytest.Pytester, project: Project, replays: Replays
) -> None:
    pytester.makepyfile(backwards="def pytest_collection_modifyitems(items):\n    items.reverse()\n")
    result = project(*ONE, "-p", "backwards", STAND_IN="doubled")
    result.stdout.fnmatch_lines([f"{CASE} bf16/single/cpu  head:out  chained  semantic  *"])
    assert [line.split()[0] for line in replays()] == ["bf16/single/cpu", "f64/single/cpu"], "each once"


def test_the_first_failure_may_end_it_and_is_run_again(
    pytester: pytest.Pytester, project: Project, replays: Replays
) -> None:
    project("-x", *ONE, STAND_IN="doubled").assert_outcomes(failed=1)
    run = run_of(pytester)
    assert run.info.cells == ("f64/single/cpu", "bf16/single/cpu")
    problem = f"{CASE} was not replayed in bf16/single/cpu: the session ended before it"
    assert run.info.problems == (problem,), "nobody takes it for the whole"
    shutil.rmtree(pytester.path / "reports")
    project("--lf", *ONE).assert_outcomes(passed=1)
    assert replays()[1:] == [f"f64/single/cpu {CASE} isolated"]
    assert run_of(pytester).info.problems == ()


def test_a_golden_that_is_missing_is_an_error_and_no_skip(pytester: pytest.Pytester, project: Project) -> None:
    (pytester.path / "golden" / "toy" / f"{CASE}.json").unlink()
    result = project(*ONE)
    result.assert_outcomes(passed=6, errors=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    what = [
        "1 golden object is missing or corrupt: toy",
        f"  got       toy/{CASE}: no golden",
        "  try *paritygate capture",
    ]
    words = [*what, "no run was written, for there is no whole golden"]
    result.stdout.fnmatch_lines(["*ERROR at setup of test_parity*", *words])
    assert "Traceback" not in said(result)
    assert not (pytester.path / "replays.log").exists() and not (pytester.path / "reports").exists()


def test_a_cell_without_its_device_is_skipped_with_the_reason(pytester: pytest.Pytester, project: Project) -> None:
    cells = "--parity-cells=f64 x single x cpu; f64 x single x gpu"
    result = project("-rs", *ONE, cells)
    result.assert_outcomes(passed=8, skipped=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["SKIPPED *: no gpu: *"])
    run = run_of(pytester)
    assert {(skip.cell, skip.case) for skip in run.info.skipped} == {("f64/single/gpu", CASE)}
    assert {str(row.verdict) for row in run.judged()} == {"pass", "skipped"}


def test_nothing_but_skipped_cells_is_no_pass(project: Project) -> None:
    result = project(*ONE, "--parity-cells=f64 x single x gpu")
    result.assert_outcomes(passed=6, skipped=2)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED, "5: nothing compared"
    result.stdout.fnmatch_lines(["NOTHING  No value was compared*", "next    paritygate doctor"])


def test_a_worker_that_dies_is_an_error(pytester: pytest.Pytester, project: Project) -> None:
    result = project(*ONE, STAND_IN="killed")
    result.assert_outcomes(passed=6, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_parity*",
            "replay did not reach its end: f64/single/cpu",
            "  got       worker for f64/single/cpu was killed by signal 9: no output (see 0.log)",
            "  try       paritygate doctor; logs are in reports/runs/*/workers",
            "INCOMPLETE  *",
        ]
    )


def test_a_gap_in_coverage_fails_what_it_is_in(project: Project) -> None:
    result = project(*ONE, "-k", "f64", STAND_IN="unseen")
    result.assert_outcomes(failed=2, deselected=8)
    result.stdout.fnmatch_lines(["not covered or not expected: missing  candidate *: it was not inspected*"])


MISUSED = """
from dataclasses import replace
import pytest

@pytest.mark.xfail(strict=True)
def test_marked(parity_case, parity):
    parity.check(parity_case)

@pytest.mark.skip
def test_left_out(parity_case, parity):
    pass

def test_forgotten(parity_case, parity):
    pass

def test_swapped(parity_case, parity):
    parity.check(replace(parity_case, suite="other"))
"""


def test_what_a_test_makes_of_its_case(pytester: pytest.Pytester, project: Project) -> None:
    pytester.makepyfile(test_port=MISUSED)
    result = project(*ONE, "-k", "f64 and chained", STAND_IN="doubled")
    result.assert_outcomes(failed=2, xfailed=1, skipped=1, deselected=12)
    forgotten = "nothing was compared: the test takes `parity` and never calls parity.check(...)"
    result.stdout.fnmatch_lines([forgotten, "parity checks the case of its own test"])


def test_what_is_asked_wrongly_is_said_at_collection(project: Project) -> None:
    result = project(*ONE, "--parity-suite=toi")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*ERROR collecting test_port.py*", "unknown suite: toi", "  try       did you mean toy or *"]
    )
    assert "Traceback" not in said(result)


def test_budgets_that_cannot_be_read_are_an_error_before_anything_is_replayed(
    pytester: pytest.Pytester, project: Project
) -> None:
    (pytester.path / "golden" / "budgets.toml").write_text("nonsense")
    result = project(*ONE, "-k", "f64")
    result.assert_outcomes(errors=2, deselected=8)
    result.stdout.fnmatch_lines(["budgets cannot be read: *"])
    assert not (pytester.path / "replays.log").exists()


def test_folders_of_the_command_line_are_relative_to_where_it_is_typed(
    pytester: pytest.Pytester, project: Project
) -> None:
    (pytester.path / "golden").rename(pytester.path / "elsewhere")
    options = ("--parity-golden=elsewhere", "--parity-runs=out", "--parity-cases=toy-2", "--parity-mode=chained")
    project(*ONE, *options).assert_outcomes(passed=8)
    assert len(list((pytester.path / "out").iterdir())) == 1


def test_a_project_that_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_plain="def test_plain():\n    pass\n")
    written = "open('modules.json', 'w').write(json.dumps(sorted(sys.modules)))"
    pytester.makeconftest(f"import json, sys\n\ndef pytest_unconfigure(config):\n    {written}\n")
    result = pytester.runpytest_subprocess(*ONE, "-p", "no:hypothesispytest", "-p", "no:jaxtyping", "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= paritygate =*")
    modules: list[Any] = json.loads((pytester.path / "modules.json").read_text())
    assert "paritygate.testing.plugin" in modules
    for name in ("numpy", "jax", "torch", "pandas", "jinja2", "typer", "rich", "paritygate.cli", "paritygate.catalog"):
        assert name not in modules
