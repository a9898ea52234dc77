"""A run that did not reach its end is finished in its folder: as if nothing had happened, or not at all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest

from paritygate.catalog import select
from paritygate.core.cell import Mode
from paritygate.core.codec import canonical
from paritygate.core.errors import GoldenError, ReplayInterrupted, UsageError
from paritygate.core.family import Case, Family
from paritygate.core.progress import Progress
from paritygate.core.run import Run
from paritygate.replay.launch import replay
from paritygate.replay.results import UNFINISHED
from paritygate.replay.resume import resume
from paritygate.store.golden import GoldenStore

TOY = Path(__file__).parents[2] / "toy"
CELLS = ("f32/single/cpu", "bf16/single/cpu")
VALUES = 16  # of a case in a cell


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def family(toy_store: GoldenStore) -> Family:
    family = select.families()["toy"]
    return changed(family, candidate=changed(family.candidate, build="toy_variants:stops"))


@pytest.fixture(scope="module")
def stopped(family: Family, toy_store: GoldenStore, place: Path) -> Run:
    """f32 is whole, and the worker was killed before it measured anything in bf16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_STOPS", "killed")
        run = made(family, toy_store, place)
    (problem,) = run.info.problems
    assert problem.startswith("worker for f32/single/cpu, bf16/single/cpu was killed by signal 9")
    return run


@pytest.fixture(scope="module")
def uninterrupted(family: Family, toy_store: GoldenStore, place: Path) -> Run:
    return made(family, toy_store, place)


def made(family: Family, store: GoldenStore, place: Path, cells: str = "f32,bf16") -> Run:
    cases = [Case.parse("toy", name) for name in family.suites["toy"]]
    return replay(
        "toy", cases, select.select_cells(cells), list(Mode), store, place / "runs", ("paritygate", "run", "toy"),
        known={"toy": family}, extensions=(TOY,), compile_cache=place / "cache",
    )  # fmt: skip


@pytest.fixture
def again(family: Family, toy_store: GoldenStore, place: Path) -> Callable[..., Run]:
    def again(run: Run, **options: Any) -> Run:
        given = {"known": {"toy": family}, "extensions": (TOY,), "compile_cache": place / "cache"} | options
        return resume(run, given.pop("store", toy_store), **given)

    return again


def copied(run: Run, folder: Path, change: Callable[[dict[str, Any]], None] = lambda info: None) -> Run:
    """The run in a folder of its own, with a change of its run.json."""
    shutil.copytree(run.folder, folder)
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))
    return Run.open(folder)


def lines(run: Run, name: str = "drifts") -> list[str]:
    return sorted(map(canonical, getattr(run, name)()))


def same(run: Run, other: Run) -> bool:
    names = ("drifts", "findings", "programs")
    return all(lines(run, name) == lines(other, name) for name in names) and run.info.repeats == other.info.repeats


def test_a_run_whose_worker_was_killed_is_finished(stopped, uninterrupted, again, tmp_path, told):
    run = again(copied(stopped, tmp_path / "run"), progress=told)
    assert same(run, uninterrupted)
    assert (run.info.problems, run.is_whole) == ((), True)
    assert (told.before, told.jobs) == (VALUES, [[("bf16/single/cpu", "toy-2.plain", VALUES)]])
    assert told.dones == [(1, "bf16/single/cpu", "toy-2.plain")] * VALUES, "a worker is numbered on from those before"
    first, second = run.info.workers
    assert (first["cells"], second["cells"]) == (list(CELLS), ["bf16/single/cpu"])
    assert first["candidate"] == second["candidate"] != {}
    assert run.info.compilations == first["compilations"] + second["compilations"] > first["compilations"] > 0
    assert run.info.wall_s > stopped.info.wall_s > 0
    assert sorted(path.name for path in (run.folder / "workers").iterdir()) == [
        "0.job.json", "0.log", "1.job.json", "1.log"
    ]  # fmt: skip


def test_a_case_that_is_not_whole_in_a_cell_is_replayed_whole(uninterrupted, again, tmp_path):
    """As a kill -9 leaves it: the last line is cut, and what comes after is not there."""
    run = copied(uninterrupted, tmp_path / "run", lambda info: info.update(problems=[UNFINISHED]))
    drifts = (run.folder / "drifts.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "drifts.jsonl").write_text("".join(drifts[:-3]) + drifts[-3][:50])
    (run.folder / "rows.jsonl").write_text("judged of fewer drifts\n")
    finished = again(run)
    assert same(finished, uninterrupted)
    assert finished.info.workers[-1]["cells"] == ["bf16/single/cpu"]
    assert not finished.is_judged


def test_resuming_may_be_stopped_too(stopped, uninterrupted, again, tmp_path, monkeypatch):
    run = copied(stopped, tmp_path / "run")
    kept = lines(run)

    class Interrupting(Progress):
        seen = VALUES

        def done(self, worker: int, cell: str, case: str, count: int = 1) -> None:
            self.seen += count
            if self.seen == VALUES + 3:
                raise KeyboardInterrupt

    with pytest.raises(ReplayInterrupted) as caught:
        again(run, progress=Interrupting())
    assert caught.value.folder == run.folder
    between = Run.open(run.folder)
    assert between.info.problems == ("the run was interrupted",)
    assert len(lines(between)) == VALUES + 3
    monkeypatch.setenv("TOY_STOPS", "killed")
    between = again(between)
    assert lines(between) == kept
    monkeypatch.delenv("TOY_STOPS")
    finished = again(between)
    assert same(finished, uninterrupted)
    assert len(finished.info.workers) == 4


def test_a_run_that_lacks_only_its_end_starts_no_worker(uninterrupted, again, tmp_path):
    run = again(copied(uninterrupted, tmp_path / "run", lambda info: info.update(problems=[UNFINISHED])))
    assert run.is_whole and same(run, uninterrupted)
    assert len(run.info.workers) == 1


def test_a_whole_run_is_left_as_it_is(uninterrupted, again, tmp_path):
    run = copied(uninterrupted, tmp_path / "run")
    before = (run.folder / "run.json").read_bytes()
    assert again(run).info == run.info
    assert (run.folder / "run.json").read_bytes() == before


def other_candidate(info: dict[str, Any]) -> None:
    info["workers"][0]["candidate"]["toy_jax"] = "0" * 64


def other_jax(info: dict[str, Any]) -> None:
    info["workers"][0]["versions"]["jax"] = "0.1.0"


def other_environment(info: dict[str, Any]) -> None:
    info["workers"][0]["environment"]["XLA_FLAGS"] = "--xla_cpu_enable_fast_math=true"


def other_harness(info: dict[str, Any]) -> None:
    info["versions"]["paritygate"] = "0.0.0"


def no_plan(info: dict[str, Any]) -> None:
    info["asked"] = {}


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        (other_candidate, "candidate toy_jax", "0" * 64),
        (other_jax, "jax", "0.1.0"),
        (other_environment, "environment", "--xla_cpu_enable_fast_math=true"),
        (other_harness, "paritygate", "0.0.0"),
        (no_plan, "cell f32/single/cpu", "not recorded"),
    ],
)
def test_what_is_not_as_it_was_is_refused(stopped, again, tmp_path, change, name, expected):
    """And nothing of it is measured."""
    run = copied(stopped, tmp_path / "run", change)
    with pytest.raises(UsageError) as caught:
        again(run)
    assert caught.value.what == "run cannot be resumed with another state of what it was begun with"
    assert caught.value.where == f"{run.info.id}: {name}"
    assert expected in caught.value.expected
    assert caught.value.got and expected not in caught.value.got
    assert lines(run) == lines(stopped)


def test_another_catalog_is_refused(stopped, again, family, tmp_path):
    other = changed(family, candidate=changed(family.candidate, build="toy_variants:doubled"))
    with pytest.raises(UsageError, match=r"another state of what it was begun with: .*: family toy\n"):
        again(copied(stopped, tmp_path / "run"), known={"toy": other})
    with pytest.raises(UsageError, match="unknown family: toy"):
        again(copied(stopped, tmp_path / "other"), known={})


def test_another_golden_is_refused(stopped, again, toy_store, tmp_path):
    shutil.copytree(toy_store.root, tmp_path / "golden")
    store = GoldenStore(tmp_path / "golden")
    store.write("toy", changed(store.read("toy", "toy-2.plain"), peers={"f64": "float16"}))
    with pytest.raises(GoldenError, match=r"golden has changed since the run: toy/toy-2\.plain"):
        again(copied(stopped, tmp_path / "run"), store=store)


def test_a_run_that_is_being_replayed_is_refused(stopped, again, tmp_path):
    run = copied(stopped, tmp_path / "run")
    with run.alone(), pytest.raises(UsageError, match="run is being replayed: run\n  try       wait until that ends"):
        again(run)


def test_a_candidates_own_noise_is_known_in_the_second_part(family, toy_store, place, again, tmp_path):
    """The first case of a cell was repeated in the first part, and says that the others have to be."""
    from paritygate.reference.capture import capture

    plain = family.prompts[0]
    family = changed(
        family,
        candidate=changed(family.candidate, build="toy_variants:shaken"),
        prompts=(plain, changed(plain, name="short", length=7)),
        suites={"toy": ("toy-2.plain", "toy-2.short")},
    )
    store = GoldenStore(tmp_path / "golden")
    capture([Case.parse("toy", name) for name in family.suites["toy"]], "toy", store, str, {"toy": family})
    run = made(family, store, tmp_path, "f32")
    run = copied(run, tmp_path / "run", lambda info: info.update(problems=[UNFINISHED]))
    drifts = (run.folder / "drifts.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "drifts.jsonl").write_text("".join(drifts[:-1]))
    finished = again(run, known={"toy": family}, store=store)
    assert [(each.case, bool(each.differing)) for each in finished.info.repeats] == [("toy-2.plain", True)]
    drifts = list(finished.drifts())
    assert len({drift.key for drift in drifts}) == len(drifts) == 2 * VALUES
    assert {drift.case for drift in drifts if drift.noise and drift.address == "head:out"} == {
        "toy-2.plain", "toy-2.short"
    }  # fmt: skip
