"""The executor of this machine: a job is one worker process, or several of one system, some jobs at a time."""

import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from paritygate.core.codec import readable
from paritygate.core.errors import InfrastructureError
from paritygate.core.run import write_atomic
from paritygate.replay.executor import Began, Ended, Environment, Job, News, Said, named
from paritygate.replay.platforms import Presence, probe

WORKER = Path(__file__).with_name("worker.py")
_GRACE_S = 5.0


@dataclass
class Worker:
    """One process that is at work on a job, alone or with the others of its `gang`, itself among them.

    `problems` are of all of them.
    """

    number: int
    member: int
    gang: list["Worker"]
    problems: list[str]
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
        processes, name = self.job.environment.processes, named(self.job)
        return f"process {self.member} of {processes} of {name}" if processes > 1 else name

    @property
    def lost(self) -> bool:
        """Whether it ended, and not as it should, nor because it was told to."""
        code = self.process.poll()
        return code is not None and not (code == 0 and self.done) and not self.stopped

    def read(self, chunk: bytes) -> list[News]:
        """What it says, line by line; that it failed is a problem."""
        *lines, self.unread = (self.unread + chunk).split(b"\n")
        said: list[News] = []
        for message in map(json.loads, lines):
            if "failed" in message:
                self.said_why = True
                self.problems.append(f"{self.name}: {message['failed']}")
                continue
            self.done = self.done or "done" in message
            said.append(Said(self.number, self.member, message))
        return said

    def stop(self) -> None:
        """Kills it and all of its gang: what one of them does without the others is no result."""
        for worker in self.gang:
            worker.stopped = True
            worker.process.kill()

    def close(self) -> None:
        self.log.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Local:
    """Processes here, `workers` of them at a time, by default one a core.

    `place` is, where the processes of a worker are on several machines, which of them is here and where they meet.
    """

    def __init__(self, workers: int | None = None, place: tuple[int, str] | None = None):
        self.workers = workers or os.cpu_count() or 1
        self._place = place

    def shares(self, environment: Environment) -> int:
        """One device's programs keep all cores at work; of a mesh nearly all time is compiling."""
        return max(1, self.workers // environment.processes) if environment.devices > 1 else 1

    def presence(self, platform: str, interpreter: str) -> Presence:
        return probe(platform, interpreter)

    def run(
        self, jobs: Sequence[tuple[int, Job]], folder: Path, timeout_s: float, compile_cache: str
    ) -> Generator[Sequence[News], None, None]:
        waiting = list(jobs)
        running: list[Worker] = []
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            stack.callback(lambda: _stop(running))
            while waiting or running:
                new: list[News] = []
                while len(running) < self.workers and (following := _startable(waiting, running, self.workers)):
                    waiting.remove(following)
                    number, job = following
                    new.append(Began(number, ", ".join(map(str, job.cells))))
                    for worker in _start(number, job, folder, timeout_s, compile_cache, self._place):
                        running.append(worker)
                        assert worker.process.stdout is not None
                        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
                if new:
                    yield new
                    new = []
                for key, _ in selector.select(timeout=0.2):
                    worker = key.data
                    chunk = os.read(key.fd, 1 << 16)
                    new += worker.read(chunk)
                    if not chunk:
                        selector.unregister(key.fileobj)
                        running.remove(worker)
                        _end(worker)
                        if not any(other.number == worker.number for other in running):
                            new.append(Ended(worker.number, tuple(worker.problems)))
                for worker in running:
                    if time.monotonic() > worker.deadline and not worker.stopped:
                        worker.problems.append(f"{named(worker.job)} ran longer than {timeout_s:g} s and was stopped")
                        worker.stop()
                yield new


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
    problems: list[str] = []
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
        gang.append(Worker(number, member, gang, problems, job, process, log, log_path, time.monotonic() + timeout_s))
    return gang


def free_port() -> int:
    """One that nobody is at, as far as this machine goes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _end(worker: Worker) -> None:
    """Where a process of several is lost, the others end with it. Named are those that a signal killed, if any were:
    the others may have ended for want of them.
    """
    worker.process.wait()
    if worker.lost:
        lost = [each for each in worker.gang if each.lost]
        killed = [each for each in lost if each.process.returncode < 0]
        worker.problems += [_how(each) for each in killed or lost if not each.said_why]
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
