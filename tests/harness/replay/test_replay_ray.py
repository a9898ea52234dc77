"""Workers on the nodes of a Ray cluster: a real one of two workers, of this machine, and what needs none."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from paritygate.catalog import select
from paritygate.catalog.select import layout_of
from paritygate.cli.options import ExecutorName
from paritygate.cli.sharing import shared_by
from paritygate.core.cell import Mode
from paritygate.core.errors import InfrastructureError, ReplayInterrupted, Terminated, UsageError
from paritygate.core.progress import Doing
from paritygate.replay import on_ray
from paritygate.replay.executor import Ended, Said
from paritygate.replay.job import environment_of, sources_hash
from paritygate.replay.launch import plan
from paritygate.replay.on_ray import Errand, Node, OnRay
from paritygate.replay.processes import WORKER, Local
from paritygate.store.golden import GoldenStore

pytestmark = pytest.mark.timeout(900)  # a machine that does other things meanwhile must not look like a lost node

VALUES = 16  # of a cell
UNTIL_S = 30.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[OnRay]:
    """What its candidates are told by the environment is told to the nodes too, so before they are there."""
    importlib.import_module("jax").devices()  # as in a notebook that has used JAX, which warns of every fork then
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_STOPS", "killed")
        with on_ray.on_ray("local", 2) as cluster:
            assert signal.getsignal(signal.SIGTERM) == before, "SIGTERM ends a verb as Ctrl-C does, with Ray too"
            yield cluster


def worker_processes() -> list[int]:
    """The processes of workers whose parent is of Ray, by number."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, parent = (folder / "cmdline").read_bytes(), parent_of(int(folder.name))
            if str(WORKER).encode() in command and b"ray::" in Path(f"/proc/{parent}/cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parent_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])


def none_is_left() -> bool:
    deadline = time.monotonic() + UNTIL_S
    while worker_processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not worker_processes()


def lines(run: Any) -> set[str]:
    return set((run.folder / "drifts.jsonl").read_text().splitlines())


def test_nodes_give_line_for_line_what_this_machine_gives(nodes, replay_toy, judged, told):
    """Every drift, with the digest of its value's bits; each cell is compiled by one worker, and by no other."""
    cells = "f32,bf16"
    here = replay_toy(cells=cells)
    there = replay_toy(cells=cells, executor=nodes, progress=told)
    assert there.info.problems == ()
    assert lines(there) == lines(here)
    assert all(drift.digest for drift in there.drifts())
    assert judged(there) == judged(here)
    assert there.info.repeats == here.info.repeats
    assert len(here.info.workers) == 1
    assert sorted(cell for worker in there.info.workers for cell in worker["cells"]) == sorted(here.info.cells)
    assert len(there.info.workers) == 2
    for worker in there.info.workers:
        assert worker["candidate"] == here.info.workers[0]["candidate"]
        assert worker["versions"] == here.info.workers[0]["versions"]
        assert worker["node"] == os.uname().nodename
    assert sorted(path.name for path in (there.folder / "workers").iterdir()) == sorted(
        f"{number}.{kind}" for number in range(2) for kind in ("job.json", "log")
    )
    assert sorted(told.over) == [0, 1]
    assert {doing.mode for _, doing in told.doings} >= {"isolated", "chained"}


def test_a_worker_that_dies_is_said_as_here_and_resuming_finishes(nodes, replay_toy, toy_store, monkeypatch):
    from paritygate.replay.resume import resume

    run = replay_toy("toy_variants:stops", cells="f32,bf16", executor=nodes)
    assert run.info.problems == ("worker for bf16/single/cpu was killed by signal 9: no output (see 1.log)",)
    assert {drift.cell for drift in run.drifts()} == {"f32/single/cpu"}
    family = select.families()["toy"]
    known = {"toy": changed(family, candidate=changed(family.candidate, build="toy_variants:stops"))}
    monkeypatch.delenv("TOY_STOPS")
    resumed = resume(run, toy_store, known=known, extensions=(Path(__file__).parents[2] / "toy",))
    assert resumed.info.problems == ()
    assert sum(1 for _ in resumed.drifts()) == 2 * VALUES


class Meanwhile:
    """A progress that does something once, when a candidate is at work."""

    def __init__(self, do: Any):
        self._do = do

    def at(self, worker: int, doing: Doing) -> None:
        if doing.case and self._do:
            do, self._do = self._do, None
            do()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def test_where_rays_own_process_dies_the_worker_dies_and_the_run_says_so(nodes, replay_toy):
    def kill() -> None:
        for worker in worker_processes():
            os.kill(parent_of(worker), signal.SIGKILL)

    run = replay_toy("toy_variants:hangs", executor=nodes, progress=Meanwhile(kill))
    (problem,) = run.info.problems
    assert problem.startswith("worker for f64/single/cpu was lost with its process of Ray: ")
    assert problem.endswith(" (see 0.log)")
    assert "died" in (run.folder / "workers" / "0.log").read_text()
    assert none_is_left()


def test_ctrl_c_ends_the_workers_on_the_nodes(nodes, replay_toy):
    def interrupt() -> None:
        assert worker_processes()
        raise KeyboardInterrupt

    with pytest.raises(ReplayInterrupted) as stop:
        replay_toy("toy_variants:hangs", executor=nodes, progress=Meanwhile(interrupt))
    assert "the run was interrupted" in (stop.value.folder / "run.json").read_text()
    assert none_is_left()


def test_a_worker_that_takes_too_long_is_stopped_on_its_node(nodes, replay_toy):
    run = replay_toy("toy_variants:hangs", executor=nodes, timeout_s=1.0)
    assert run.info.problems == ("worker for f64/single/cpu ran longer than 1 s and was stopped",)
    assert none_is_left()


# what needs no cluster


class Nodes:
    """A cluster with these nodes."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, *resources: dict[str, float]):
        self._resources = resources

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}
        return [gone, *({"Alive": True, "Resources": found} for found in self._resources)]


TWO = Nodes({"CPU": 8.0, "GPU": 4.0, "accelerator_type:H100": 1.0}, {"CPU": 3.0, "GPU": 2.0}, {"CPU": 2.0, "TPU": 4.0})


def environment(mesh: str, platform: str, processes: int = 1) -> Any:
    return environment_of(sys.executable, select.policies()["f32"], layout_of(mesh), platform, processes)


@pytest.mark.parametrize(
    ("mesh", "platform", "processes", "workers", "shares"),
    [
        ("single", "cpu", 1, None, 13),
        ("single", "cpu", 1, 4, 4),
        ("fsdp2", "cpu", 2, None, 6),  # 4 of the first, one of each other
        ("single", "gpu", 1, None, 6),
        ("tp2", "gpu", 1, None, 3),
        ("fsdp4", "gpu", 1, None, 1),
        ("tp2", "tpu", 1, None, 2),
    ],
)
def test_cells_are_shared_out_among_as_many_workers_as_there_is_room_for(mesh, platform, processes, workers, shares):
    found = OnRay(TWO, workers).shares(environment(mesh, platform, processes))
    assert found == shares


def test_a_mesh_that_no_node_has_the_devices_of_is_skipped_and_says_why():
    nodes = OnRay(TWO)
    assert nodes.presence("gpu", "").lacks("fsdp4", 4) == ""
    assert nodes.presence("gpu", "").lacks("fsdp4tp2", 8) == "gpu: 4 devices, fsdp4tp2 needs 8"
    assert nodes.presence("gpu", "").text == "4 devices, a node of Ray, H100"
    assert OnRay(Nodes({"CPU": 2.0})).presence("tpu", "").text == "no tpu: no node of the Ray cluster has one"


def test_processes_that_no_node_has_cores_for_are_refused(toy_store, tmp_path):
    (job,) = jobs_of(toy_store, "f64 x fsdp2", processes=2)
    (tmp_path / "workers").mkdir()
    with pytest.raises(InfrastructureError) as refused:
        list(OnRay(Nodes({"CPU": 1.0})).run([(0, job)], tmp_path, 10.0, ""))
    assert str(refused.value) == ("no node of the Ray cluster has room: worker for f64/fsdp2/cpu\n  expected  2 CPU")


def jobs_of(store: GoldenStore, cells: str, processes: int = 1) -> list[Any]:
    cases = list(select.suites()["toy"])
    return plan("toy", cases, select.select_cells(cells), list(Mode), store, executor=Local(1), processes=processes)


def refused(errand: Errand) -> str:
    """The problem that a node has with an errand, before it starts a worker."""
    node = Node(errand)
    said, logs = node.more()
    node.stop()
    (end,) = said
    assert isinstance(end, Ended) and not logs
    (problem,) = end.problems
    return problem


def test_a_node_without_what_the_run_was_begun_with_says_what_it_lacks(toy_store, tmp_path):
    import paritygate
    from paritygate.core.codec import canonical, to_json

    (job,) = jobs_of(toy_store, "f64")
    harness = sources_hash(Path(paritygate.__file__))
    hashes = {case.id: toy_store.manifest_hash("toy", case.id) for case in job.cases}
    errand = Errand(3, canonical(to_json(job)), hashes, harness, 10.0, "")
    lost = changed(errand, job=canonical(to_json(changed(job, golden="/no/such/golden"))))
    name, node = "worker for f64/single/cpu: ", os.uname().nodename
    assert refused(lost) == (
        f"{name}folder is not on the node: {node}: /no/such/golden\n"
        "  expected  the same path on every node, shared or with the same in it"
    )
    assert refused(changed(errand, harness="0" * 64)).startswith(f"{name}node has another paritygate: {node}\n")
    assert refused(changed(errand, goldens={"toy-2.plain": "0" * 64})).startswith(f"{name}golden has changed since")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    assert "can be written by others" in refused(changed(errand, compile_cache=str(tmp_path / "cache")))


def test_a_node_with_another_state_is_refused_before_its_first_value(toy_store):
    (job,) = jobs_of(toy_store, "f64")
    record = {"interpreter": "/python", "python": "3.11", "versions": {"jax": "1"}, "candidate": {"toy_jax": "aa"}}
    first, second = ({**record, "node": node} for node in ("one", "two"))
    same = on_ray._Same()
    values = [Said(0, 0, {"drift": {}})]
    assert same.checked([Said(0, 0, {"record": first}), *values], job) == [Said(0, 0, {"record": first}), *values]
    assert same.checked([Said(1, 0, {"record": second}), *values], job)[1:] == values
    (end,) = same.checked([Said(1, 0, {"record": {**second, "candidate": {"toy_jax": "bb"}}}), *values], job)
    assert isinstance(end, Ended)
    assert end.problems == (
        "worker for f64/single/cpu: node has another state than the others: two: candidate toy_jax\n"
        "  expected  aa, as on one\n"
        "  got       bb\n"
        "  try       the same versions and sources on every node, then --resume",
    )


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as refused, on_ray.on_ray("", None):
        pass
    assert str(refused.value) == ("ray is not installed: --executor ray\n  try       pip install 'paritygate[ray]'")


def test_a_cluster_that_does_not_answer_is_infrastructure():
    def init(address: str, **options: Any) -> None:
        raise ConnectionError("ray client connection timeout\nand more")

    nobody: Any = SimpleNamespace(init=init, is_initialized=lambda: False)
    with pytest.raises(InfrastructureError) as refused:
        on_ray._connect(nobody, "ray://head:10001", None)
    assert str(refused.value) == (
        "no Ray cluster answers: --address ray://head:10001\n"
        "  got       ray client connection timeout\n"
        "  try       ray status, or --address local for one of this machine"
    )


def test_a_cluster_that_the_environment_names_is_not_silently_left_for_one_of_this_machine(monkeypatch):
    asked: list[str] = []

    def init(address: str, **options: Any) -> None:
        asked.append(address)
        raise ConnectionError("nobody")

    nobody: Any = SimpleNamespace(init=init, is_initialized=lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(InfrastructureError, match="no Ray cluster answers: RAY_ADDRESS head:6379"):
        on_ray._connect(nobody, "", None)
    assert asked == ["head:6379"]


def test_sigterm_ends_a_run_on_nodes_as_sigterm(toy_store, tmp_path):
    """Ray makes a plain KeyboardInterrupt of what the handler raises."""

    def terminated(number: int, frame: Any) -> None:
        raise Terminated

    def wait(*arguments: Any, **named: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated:
            raise KeyboardInterrupt from None

    (job,) = jobs_of(toy_store, "f64")
    (tmp_path / "workers").mkdir()
    ray = MagicMock(wait=wait, nodes=TWO.nodes, exceptions=Nodes.exceptions)
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        told: list[BaseException] = []
        with pytest.raises(Terminated), on_ray._sigterm(told):
            list(OnRay(ray, None, told).run([(0, job)], tmp_path, 10.0, ""))
        assert signal.getsignal(signal.SIGTERM) is terminated
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("processes", "executor", "address", "says"),
    [
        ("1", "local", "auto", "an address of nothing: --address auto"),
        ("auto", "ray", "", "two clusters: --processes auto --executor ray"),
    ],
)
def test_options_that_contradict_each_other_are_refused(processes, executor, address, says):
    with pytest.raises(UsageError, match=says), shared_by(processes, ExecutorName(executor), address, None):
        pass
