"""Parity items under pytest-xdist: each key is replayed once and by one worker, and the controller stays light."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from paritygate.core.run import Run

Project = Callable[..., pytest.RunResult]
Replays = Callable[[], list[str]]
ALL = "--parity-cells=f64,f32,f16,bf16"
CELLS = [f"{dtype}/single/cpu" for dtype in ("f64", "f32", "f16", "bf16")]
# The distribution that the plugin's stands for, in its place.
PLAIN_LOAD = """
import pytest
from xdist.scheduler import LoadScheduling

@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config, log):
    return LoadScheduling(config, log)

def pytest_collection_modifyitems(items):
    items.insert(0, items.pop())  # its first shares are of two tests, as a cell has: now they are of two cells
"""


def run_of(pytester: pytest.Pytester) -> Run:
    (folder,) = (pytester.path / "reports" / "runs").iterdir()
    return Run.open(folder)


def test_two_workers_replay_each_cell_once(pytester: pytest.Pytester, project: Project, replays: Replays) -> None:
    result = project("-n", "2", "-v", ALL, "--junitxml=junit.xml", STAND_IN_S="0.3")
    result.assert_outcomes(passed=14)
    assert sorted(line.split()[0] for line in replays()) == sorted(CELLS)
    result.stdout.fnmatch_lines(["scheduling tests via ParityScheduling"])
    for cell in CELLS:  # without `asked for by`: by nobody else
        result.stdout.re_match_lines([rf"compiled  {cell}  in gw[01]: 7 programs \(2 from"])
    run = run_of(pytester)
    assert run.info.cells == tuple(CELLS)
    assert {str(row.verdict) for row in run.judged()} == {"pass"}
    assert run.info.compilations == 28 and len(run.info.workers) == 4
    assert run.info.wall_s in (2.0, 3.0), "the stand-in says a second a cell, and the workers run side by side"
    modules = json.loads((pytester.path / "modules.json").read_text())
    assert "paritygate.testing.ending" in modules and not {"jax", "jaxlib", "flax", "torch"} & set(modules)
    junit = (pytester.path / "junit.xml").read_text()
    assert junit.count('name="parity_run"') == 8 and f'value="reports/runs/{run.folder.name}"' in junit


def test_under_plain_load_a_cell_is_still_replayed_once_and_its_workers_wait(
    pytester: pytest.Pytester, project: Project, replays: Replays
) -> None:
    pytester.makepyfile(plain_load=PLAIN_LOAD)
    result = project("-n", "2", "-p", "plain_load", ALL, STAND_IN_S="0.5")
    result.assert_outcomes(passed=14)
    assert Counter(line.split()[0] for line in replays()) == dict.fromkeys(CELLS, 1)
    result.stdout.fnmatch_lines(["compiled  f64/single/cpu  in gw?, asked for by gw0, gw1: *"])


def test_what_differs_is_told_by_any_worker_and_said_once(pytester: pytest.Pytester, project: Project) -> None:
    result = project("-n", "2", STAND_IN="coarse", STAND_IN_S="0.3")
    result.assert_outcomes(passed=8, failed=2)
    result.stdout.fnmatch_lines(
        ["toy-2.plain bf16/single/cpu  head:out  isolated  precision  *", "FAIL  2 of 32 values of 1 case *"]
    )


def test_a_worker_of_pytest_that_dies_is_replaced_and_its_cell_replayed(
    pytester: pytest.Pytester, project: Project, replays: Replays
) -> None:
    result = project("-n", "2", "-k", "parity", STAND_IN="crash")
    assert len(replays()) == 3, "one of two cells a second time"
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1 and outcomes["passed"] == 3, "xdist fails the item that its worker died in"
    run = run_of(pytester)
    assert run.info.problems == () and len(list(run.judged())) == 32


def test_more_workers_than_devices_are_refused(project: Project) -> None:
    gpu = "--parity-cells=f64 x single x cpu,gpu"
    result = project("-n", "3", gpu, GPUS="2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: more pytest workers than devices of the platform gpu: -n 3",
            "  expected  at most 2 devices and as many workers: they cannot share its memory",
            "  try       -n 2, or cells on the cpu in a session of their own",
        ]
    )
    project("-n", "2", gpu, GPUS="2").assert_outcomes(passed=10)


def test_other_distributions_are_left_to_pytest_xdist(project: Project, replays: Replays) -> None:
    result = project("-n", "2", "--dist", "worksteal", "-v", ALL)
    result.assert_outcomes(passed=14)
    result.stdout.fnmatch_lines(["scheduling tests via WorkStealingScheduling"])
    assert len(replays()) == 4


def test_without_pytest_xdist_installed(pytester: pytest.Pytester, project: Project) -> None:
    hidden = "import sys\nsys.modules['xdist'] = None  # as if it were not there\n"
    (pytester.path / "hidden.py").write_text(hidden)
    result = project("-p", "hidden", "-p", "no:xdist", "-p", "no:xdist.looponfail")
    result.assert_outcomes(passed=10)
    assert "xdist.scheduler" not in json.loads((pytester.path / "modules.json").read_text())
