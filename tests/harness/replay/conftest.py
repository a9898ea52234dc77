"""The toy family captured once per process, and replays of it with any candidate."""

import json
from dataclasses import replace as changed
from pathlib import Path

import pytest

from paritygate.catalog import select
from paritygate.core.cell import Mode
from paritygate.core.progress import Progress
from paritygate.core.registry import extend
from paritygate.core.run import Run
from paritygate.judge.budgets import read_budgets
from paritygate.judge.decide import judge
from paritygate.replay import launch
from paritygate.store.golden import GoldenStore

ROOT = Path(__file__).parents[3]
TOY = ROOT / "tests" / "toy"


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory):
    from paritygate.reference.capture import capture

    extend([TOY])
    store = GoldenStore(tmp_path_factory.mktemp("golden"))
    capture(list(select.suites()["toy"]), "toy", store, lambda text: None)
    return store


@pytest.fixture
def replay_toy(toy_store, tmp_path):
    """replay_toy(build, cells="f64", ...) → the run, with `build` as the candidate."""

    def run(build: str = "toy_jax:build", cells: str = "f64", **options) -> Run:
        family = select.families()["toy"]
        candidate = changed(family.candidate, build=build, interpreter=options.pop("interpreter", ""))
        return launch.replay(
            "toy",
            list(select.suites()["toy"]),
            select.select_cells(cells),
            options.pop("modes", list(Mode)),
            options.pop("store", toy_store),
            tmp_path / "runs",
            ("paritygate", "run", "toy"),
            known={"toy": changed(family, candidate=candidate)},
            extensions=(TOY,),
            **options,
        )

    run.runs = tmp_path / "runs"
    return run


class Told(Progress):
    """All that a progress was told."""

    def __init__(self):
        self.jobs, self.before = [], 0
        self.dones, self.doings, self.over = [], [], []

    def planned(self, jobs, workers=1, noun="values", done=0, of=""):
        self.jobs, self.before = [list(job) for job in jobs], done

    def at(self, worker, doing):
        self.doings.append((worker, doing))

    def done(self, worker, cell, case, count=1):
        self.dones += [(worker, cell, case)] * count

    def ended(self, worker):
        self.over.append(worker)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def judged(toy_store):
    """The rows of a run, judged by the repository's budgets."""

    def rows(run: Run):
        goldens = {case: toy_store.read("toy", case) for case in run.info.cases}
        budgets = read_budgets(ROOT / "golden" / "budgets.toml")
        return judge(run.drifts(), goldens, run.info.cells, run.info.modes, budgets, {}, skipped=run.info.skipped)

    return rows


@pytest.fixture
def job_of():
    """The job file of a run's first worker."""
    return lambda run: json.loads((run.folder / "workers" / "0.job.json").read_text())
