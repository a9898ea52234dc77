"""Runs jobs in worker processes, some at a time, and hands over what they say, line by line."""

import json
import os
import selectors
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from paritygate.core.codec import from_json, readable
from paritygate.core.errors import InfrastructureError
from paritygate.core.progress import SILENT, STARTING, Doing, Progress
from paritygate.core.run import write_atomic

WORKER = Path(__file__).with_name("worker.py")
_GRACE_S = 5.0


class Environment(Protocol):
    """How a worker's process is started."""

    @property
    def interpreter(self) -> str: ...

    @property
    def alone(self) -> str:
        """The device that no other worker may use meanwhile; empty for none."""
        ...

    @property
    def processes(self) -> int: ...

    def variables(self, compile_cache: str) -> dict[str, str]: ...


class Job(Protocol):
    """What a worker is told, by file; its `cells` name it."""

    @property
    def environment(self) -> Environment: ...

    @property
    def cells(self) -> Sequence[object]: ...


class Gathered(ABC):
    """What the workers have said so far: a record of each, what went wrong, and what they found."""

    def __init__(self, progress: Progress = SILENT) -> None:
        self.progress = progress
        self._records: dict[tuple[int, int], dict[str, Any]] = {}
        self.problems: list[str] = []

    @property
    def records(self) -> list[dict[str, Any]]:
        """The latest of each worker, also of one that did not reach its end."""
        return list(self._records.values())

    def recorded(self, worker: "Worker", record: dict[str, Any]) -> None:
        """Takes what a worker says of itself: before the first value of a candidate, after each cell, at its end."""
        self._records[worker.number, worker.member] = record

    @abstractmethod
    def found(self, message: dict[str, Any], worker: "Worker") -> None:
        """Takes what a worker says of the candidate."""

    def line(self, text: str, worker: "Worker") -> None:
        """Takes one line of a worker."""
        message = json.loads(text)
        if record := message.get("done") or message.get("record"):
            worker.done = "done" in message
            self.recorded(worker, record)
        elif "failed" in message:
            worker.said_why = True
            self.problems.append(f"{worker.name}: {message['failed']}")
        elif "doing" in message:
            self.progress.at(worker.number, from_json(Doing, message["doing"]))
        else:
            self.found(message, worker)


@dataclass
class Worker:
    """One process that is at work on a job, alone or with the others of its `gang`, itself among them."""

    number: int
    member: int
    gang: list["Worker"]
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_path: Path
    deadline: float
    unread: bytes = b""
    stopped: bool = False
    said_why: bool = False
    done: bool = False

    @property
    def name(self) -> str:
        processes = self.job.environment.processes
        return f"process {self.member} of {processes} of {self.of}" if processes > 1 else self.of

    @property
    def of(self) -> str:
        return "worker for " + ", ".join(map(str, self.job.cells))

    @property
    def lost(self) -> bool:
        """Whether it ended, and not as it should, nor because it was told to."""
        code = self.process.poll()
        return code is not None and not (code == 0 and self.done) and not self.stopped

    def stop(self) -> None:
        """Kills it and all of its gang: what one of them does without the others is no result."""
        for worker in self.gang:
            worker.stopped = True
            worker.process.kill()

    def close(self) -> None:
        self.log.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


def prepare_cache(cache: Path | None) -> None:
    """Makes the compile cache where it is not there; raises InfrastructureError where others may write into it."""
    if cache is None:
        return
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = cache.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InfrastructureError(
            "compile cache can be written by others, and what it holds is run as code",
            where=str(cache),
            expected="yours, mode 0700",
            try_=f"chmod 700 {cache}, or --no-compile-cache",
        )


def run_all(
    jobs: Sequence[Job],
    folder: Path,
    limit: int,
    timeout_s: float,
    compile_cache: Path | None,
    gathered: Gathered,
    place: tuple[int, str] | None = None,
) -> None:
    """Runs every job, at most `limit` at a time; a worker that dies or runs out of time becomes a problem.

    Workers are numbered on from those that the folder has. `place` is, where the processes of a worker are on several
    machines, which of them is here and where they meet. Raises InfrastructureError where one cannot be started.
    """
    waiting = list(enumerate(jobs, len(list((folder / "workers").glob("*.job.json")))))
    running: list[Worker] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        stack.callback(lambda: _stop(running))
        while waiting or running:
            while len(running) < limit and (following := _startable(waiting, running, limit)):
                waiting.remove(following)
                number, job = following
                gathered.progress.at(number, Doing(cell=", ".join(map(str, job.cells)), phase=STARTING))
                for worker in _start(number, job, folder, timeout_s, str(compile_cache or ""), place):
                    running.append(worker)
                    assert worker.process.stdout is not None
                    selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            for key, _ in selector.select(timeout=0.2):
                worker = key.data
                chunk = os.read(key.fd, 1 << 16)
                *lines, worker.unread = (worker.unread + chunk).split(b"\n")
                for line in lines:
                    gathered.line(line.decode(), worker)
                if not chunk:
                    selector.unregister(key.fileobj)
                    running.remove(worker)
                    _end(worker, gathered)
                    if not any(other.number == worker.number for other in running):
                        gathered.progress.ended(worker.number)
            for worker in running:
                if time.monotonic() > worker.deadline and not worker.stopped:
                    gathered.problems.append(f"{worker.of} ran longer than {timeout_s:g} s and was stopped")
                    worker.stop()


def _startable(waiting: Sequence[tuple[int, Job]], running: Sequence[Worker], limit: int) -> tuple[int, Job] | None:
    """The first whose device nobody else is at, and whose processes there is room for, or nobody else's."""
    taken = {worker.job.environment.alone for worker in running} - {""}
    room = limit - len(running)
    return next(
        (
            (number, job)
            for number, job in waiting
            if job.environment.alone not in taken and (job.environment.processes <= room or not running)
        ),
        None,
    )


def _start(
    number: int, job: Job, folder: Path, timeout_s: float, compile_cache: str, place: tuple[int, str] | None
) -> list[Worker]:
    """The processes of one worker that are here."""
    path = folder / "workers" / f"{number}.job.json"
    write_atomic(path, readable(job).encode())
    gang: list[Worker] = []
    members = job.environment.processes
    here, coordinator = ([place[0]], place[1]) if place else (range(members), f"127.0.0.1:{free_port()}")
    for member in here:
        log_path = path.with_name(f"{number}.{member}.log" if members > 1 else f"{number}.log")
        log = log_path.open("wb")
        try:
            process = subprocess.Popen(
                [job.environment.interpreter, "-P", str(WORKER), str(path)]
                + ([str(member), coordinator] if members > 1 else []),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **job.environment.variables(compile_cache)},
            )
        except OSError as reason:
            log.close()
            _stop(gang)
            raise InfrastructureError(
                "worker cannot be started", where=job.environment.interpreter, got=str(reason), try_="paritygate doctor"
            ) from reason
        gang.append(Worker(number, member, gang, job, process, log, log_path, time.monotonic() + timeout_s))
    return gang


def free_port() -> int:
    """One that nobody is at, as far as this machine goes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _end(worker: Worker, gathered: Gathered) -> None:
    """Where a process of several is lost, the others end with it. Named are those that a signal killed, if any were:
    the others may have ended for want of them.
    """
    worker.process.wait()
    if worker.lost:
        lost = [each for each in worker.gang if each.lost]
        killed = [each for each in lost if each.process.returncode < 0]
        gathered.problems += [_how(each) for each in killed or lost if not each.said_why]
        worker.stop()
    worker.close()


def _how(worker: Worker) -> str:
    code = worker.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    lines = worker.log_path.read_text(errors="replace").strip().splitlines()
    tail = [line for line in lines if not line.startswith("[Gloo]")][-1:]
    return f"{worker.name} {how}: {tail[0] if tail else 'no output'} (see {worker.log_path.name})"


def _stop(running: list[Worker]) -> None:
    """Ends workers that are still there: the run was interrupted, or another worker could not be started."""
    for worker in running:
        worker.process.terminate()
    for worker in running:
        try:
            worker.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.close()
