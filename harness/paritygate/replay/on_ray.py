"""The executor of a Ray cluster: each job is an actor, which has the same worker as ever on its node and says on.

The only file that imports Ray. Ray queues, places and counts devices; nothing is tried again, so that no value is
measured twice.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import paritygate
from paritygate.core.codec import canonical, from_json, readable, to_json
from paritygate.core.errors import HarnessError, InfrastructureError, UsageError
from paritygate.core.run import write_atomic
from paritygate.replay import executor
from paritygate.replay.executor import Ended, Environment, News, Said, named, prepare_cache
from paritygate.replay.job import Job, sources_hash
from paritygate.replay.platforms import Presence
from paritygate.replay.processes import Local
from paritygate.store.golden import GoldenStore

_NAMES = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU"}  # what Ray calls the devices of each platform
_BATCH_S = 0.5  # so long lines are gathered on a node before they are sent
_GRACE_S = 8.0  # longer than a worker is given to end
_LOG_BYTES = 1 << 20  # of each log, its end
_LOCAL = "local"  # the address of a cluster that is begun here and ends with the run
_STORE_BYTES = 80 << 20  # nearly the least that Ray takes: what a worker says is short


@dataclass(frozen=True)
class Errand:
    """What a node is told: a job, and what must be on the node for it. `job` is its JSON."""

    number: int
    job: str
    goldens: Mapping[str, str]  # case → the sha256 of its manifest
    harness: str  # the sha256 of paritygate's sources
    timeout_s: float
    compile_cache: str


class Node:
    """The actor: one job on one node. Its process starts no JAX, and when it dies so does the worker."""

    def __init__(self, errand: Errand):
        self._logs: dict[str, bytes] = {}
        self._turns = self._work(errand)

    def more(self) -> tuple[list[News], dict[str, bytes]]:
        """What came since the last time, for which it waits; the last is `Ended`, and then the logs are there."""
        said: list[News] = []
        until = time.monotonic() + _BATCH_S
        while time.monotonic() < until and not (said and isinstance(said[-1], Ended)):
            said += next(self._turns)
        return said, self._logs

    def stop(self) -> None:
        self._turns.close()

    def _work(self, errand: Errand) -> Generator[Sequence[News], None, None]:
        job = from_json(Job, json.loads(errand.job))
        with TemporaryDirectory(prefix="paritygate-") as text:
            folder = Path(text)
            (folder / "workers").mkdir()
            try:
                _require(errand, job)
                local = Local(job.environment.processes)
                for events in local.run([(errand.number, job)], folder, errand.timeout_s, errand.compile_cache):
                    for event in events:
                        if isinstance(event, Said) and (record := _record(event)):
                            record["node"] = socket.gethostname()
                        if isinstance(event, Ended):
                            self._logs = {path.name: _end_of(path) for path in (folder / "workers").glob("*.log")}
                    yield events
            except HarnessError as reason:
                yield [Ended(errand.number, (f"{named(job)}: {reason}",))]


class OnRay:
    """Actors on the nodes of a cluster that are up. Each has as many devices of one node as its cells need."""

    def __init__(self, ray: Any, workers: int | None = None, ended_by: Sequence[BaseException] = ()):
        self._ray, self._most, self._ended_by = ray, workers, ended_by
        self._nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    @property
    def workers(self) -> int:
        return self._most or max(1, sum(int(node.get("CPU", 0)) for node in self._nodes))

    def shares(self, environment: Environment) -> int:
        """As many as there is room for: other than here, a cell more at a time has cores of its own."""
        needs = _needs(environment)
        room = sum(min(int(node.get(name, 0) // count) for name, count in needs.items()) for node in self._nodes)
        return max(1, min(room, self.workers))

    def presence(self, platform: str, interpreter: str) -> Presence:
        name = _NAMES[platform]
        most = max((int(node.get(name, 0)) for node in self._nodes), default=0)
        kinds = {key.partition(":")[2] for node in self._nodes for key in node if key.startswith("accelerator_type:")}
        reason = "" if most else "no node of the Ray cluster has one"
        return Presence(platform, most, f"a node of Ray, {', '.join(sorted(kinds)) or 'of no kind it knows'}", reason)

    def run(
        self, jobs: Sequence[tuple[int, executor.Job]], folder: Path, timeout_s: float, compile_cache: str
    ) -> Generator[Sequence[News], None, None]:
        try:
            yield from self._turns(jobs, folder, timeout_s, compile_cache)
        except KeyboardInterrupt as by:  # Ray makes one of whatever the handler of a signal raises
            raise (self._ended_by[-1] if self._ended_by else by) from None

    def _turns(
        self, jobs: Sequence[tuple[int, executor.Job]], folder: Path, timeout_s: float, compile_cache: str
    ) -> Generator[Sequence[News], None, None]:
        ray, waiting, same = self._ray, list(jobs), _Same()
        harness = sources_hash(Path(paritygate.__file__))
        asked: dict[Any, _Actor] = {}
        with ExitStack() as stack:
            stack.callback(lambda: self._stop(asked.values()))
            while waiting or asked:
                while waiting and len(asked) < (self._most or len(jobs)):
                    number, job = waiting.pop(0)
                    assert isinstance(job, Job)
                    write_atomic(folder / "workers" / f"{number}.job.json", readable(job).encode())
                    each = self._start(number, job, harness, timeout_s, compile_cache)
                    asked[each.actor.more.remote()] = each
                new: list[News] = []
                for ref in ray.wait(list(asked), timeout=0.2)[0]:
                    each = asked.pop(ref)
                    try:
                        said, logs = ray.get(ref)
                    except ray.exceptions.RayError as reason:
                        said, logs = [each.lost(reason)], {f"{each.number}.log": str(reason).encode()}
                    for name, log in logs.items():
                        (folder / "workers" / name).write_bytes(log)
                    said = same.checked(said, each.job)
                    new += said
                    each.began = True
                    if said and isinstance(said[-1], Ended):
                        self._stop([each])
                    else:
                        asked[each.actor.more.remote()] = each
                yield new

    def _start(self, number: int, job: Job, harness: str, timeout_s: float, compile_cache: str) -> "_Actor":
        needs, store = _needs(job.environment), GoldenStore(Path(job.golden))
        if not any(all(node.get(name, 0) >= count for name, count in needs.items()) for node in self._nodes):
            wanted = ", ".join(f"{count} {name}" for name, count in needs.items())
            raise InfrastructureError("no node of the Ray cluster has room", where=named(job), expected=wanted)
        goldens = {case.id: store.manifest_hash(job.suite, case.id) for case in job.cases}
        errand = Errand(number, canonical(to_json(job)), goldens, harness, timeout_s, compile_cache)
        more = {name: count for name, count in needs.items() if name not in ("CPU", "GPU")}
        actor = self._ray.remote(Node).options(
            num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), resources=more, max_restarts=0, max_task_retries=0
        )
        return _Actor(number, job, actor.remote(errand))

    def _stop(self, actors: Iterable["_Actor"]) -> None:
        """Ends the workers of actors that have one, and the actors."""
        actors = list(actors)
        with suppress(self._ray.exceptions.RayError):
            if stopping := [each.actor.stop.remote() for each in actors if each.began]:
                self._ray.wait(stopping, num_returns=len(stopping), timeout=_GRACE_S)
        for each in actors:
            self._ray.kill(each.actor)


@dataclass
class _Actor:
    """An actor, from here. One that has not `began` may be waiting for its node."""

    number: int
    job: Job
    actor: Any
    began: bool = False

    def lost(self, reason: Exception) -> Ended:
        """Of an exception in the actor Ray gives the whole traceback, of its death a sentence first."""
        lines = [line for line in str(reason).splitlines() if line.strip()] or [type(reason).__name__]
        why = lines[-1 if "Traceback" in str(reason) or "ray::" in lines[0] else 0].strip()
        problem = f"{named(self.job)} was lost with its process of Ray: {why} (see {self.number}.log)"
        return Ended(self.number, (problem,))


class _Same:
    """Whether all nodes have the same versions and the same candidate, by the records of their workers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

    def checked(self, said: Sequence[News], job: Job) -> list[News]:
        """What is said, as far as it is of the same state: a record comes before the first value."""
        for place, event in enumerate(said):
            if isinstance(event, Said) and (record := _record(event)) and (problem := self._differs(record)):
                return [*said[:place], Ended(event.number, (f"{named(job)}: {problem}",))]
        return list(said)

    def _differs(self, record: Mapping[str, Any]) -> InfrastructureError | None:
        parts = {"python": record["python"]} | record["versions"]
        parts |= {f"candidate {name}": digest for name, digest in record["candidate"].items()}
        for name, got in parts.items():
            expected, node = self._known.setdefault((record["interpreter"], name), (got, record["node"]))
            if got != expected:
                return InfrastructureError(
                    "node has another state than the others",
                    where=f"{record['node']}: {name}",
                    expected=f"{expected}, as on {node}",
                    got=got,
                    try_="the same versions and sources on every node, then --resume",
                )
        return None


@contextmanager
def on_ray(address: str, workers: int | None) -> Iterator[OnRay]:
    """The cluster at an address, by default the one that Ray finds, or else one of this machine, `local`, for as long.

    Raises UsageError where Ray is not installed, InfrastructureError where nobody answers.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise UsageError("ray is not installed", where="--executor ray", try_="pip install 'paritygate[ray]'") from None
    if ray.is_initialized():  # whoever began it ends it
        yield OnRay(ray, workers)
        return
    ended_by: list[BaseException] = []
    with _sigterm(ended_by):
        _connect(ray, address, workers)
        try:
            yield OnRay(ray, workers, ended_by)
        finally:
            ray.shutdown()


@contextmanager
def _sigterm(raised: list[BaseException]) -> Iterator[None]:
    """Keeps SIGTERM's handler, in the place of which Ray puts its own, and what it raises, which Ray forgets."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    handler = before

    def kept(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as reason:
            raised.append(reason)
            raise

    signal.signal(signal.SIGTERM, kept)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _connect(ray: Any, address: str, workers: int | None) -> None:
    """Joins the cluster that the address or, without one, Ray's own variable names: then it is that or none."""
    by, at = ("--address", address) if address else ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS", ""))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of a change to come
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if at != _LOCAL:
            with suppress(*([] if at else [ConnectionError])):
                ray.init(at or "auto", **quiet)
        if not ray.is_initialized():
            with warnings.catch_warnings():  # Ray forks only to start programs; JAX, once it is used, warns of any fork
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                ray.init(
                    _LOCAL,
                    num_cpus=workers or os.cpu_count(),
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    _system_config={"worker_niceness": 0},  # nothing else of the cluster is to come first
                    **quiet,
                )
    except (ConnectionError, RuntimeError, ValueError) as reason:
        raise InfrastructureError(
            "no Ray cluster answers",
            where=f"{by} {at}",
            got=str(reason).splitlines()[0],
            try_="ray status, or --address local for one of this machine",
        ) from reason
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray puts its own in its place
            signal.signal(signal.SIGTERM, at_sigterm)


def _needs(environment: Environment) -> dict[str, int]:
    """What a worker has to itself, in Ray's names: on a CPU a core a process, for its devices are virtual."""
    if environment.platform == "cpu":
        return {"CPU": environment.processes}
    return {"CPU": 1, _NAMES[environment.platform]: environment.devices}


def _require(errand: Errand, job: Job) -> None:
    """Raises HarnessError unless this node has what the run was begun with, under the same paths."""
    if (found := sources_hash(Path(paritygate.__file__))) != errand.harness:
        raise InfrastructureError(
            "node has another paritygate",
            where=socket.gethostname(),
            expected=errand.harness[:12],
            got=found[:12],
            try_="the same release on every node",
        )
    for folder in (job.golden, *job.extensions):
        if not Path(folder).is_dir():
            raise InfrastructureError(
                "folder is not on the node",
                where=f"{socket.gethostname()}: {folder}",
                expected="the same path on every node, shared or with the same in it",
            )
    store = GoldenStore(Path(job.golden))
    store.require(job.suite, list(errand.goldens))
    store.require_unchanged(job.suite, errand.goldens)
    prepare_cache(Path(errand.compile_cache) if errand.compile_cache else None)


def _record(event: Said) -> dict[str, Any] | None:
    return event.message.get("done") or event.message.get("record")


def _end_of(log: Path) -> bytes:
    return log.read_bytes()[-_LOG_BYTES:]
