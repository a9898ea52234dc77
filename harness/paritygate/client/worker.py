"""A worker: takes tasks of a service by lease, one after another, for the candidates that it has."""

import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paritygate import __version__
from paritygate.client.candidates import Candidate, find
from paritygate.client.doing import Doing, Tell
from paritygate.client.keeping import Keeping
from paritygate.client.work import LeaseLost, Unreachable, Work
from paritygate.core.errors import HarnessError, UsageError
from paritygate.core.project import Leased

_PAUSES_S = (1.0, 30.0)  # the first and the longest, of a service that does not answer


@dataclass(frozen=True)
class Workplace:
    """Who works, and where: its labels, its checkouts, and a folder of its own, for runs and what is compiled."""

    name: str
    labels: tuple[str, ...]
    candidates: tuple[Path, ...]
    home: Path
    processes: int | None = None  # of a replay at a time; one a core where it is None


class Worker:
    """A worker of one service. `tell` takes a line an event."""

    def __init__(self, place: Workplace, connect: Callable[[], Work], tell: Tell):
        self.place, self._connect, self._tell = place, connect, tell
        self._work = connect()
        self._known: dict[Path, Candidate] = {}
        self._broken: dict[Path, str] = {}

    def work(self, poll_s: float, ends: str = "never") -> None:
        """Task after task; one that `ends` "idle" until there is none. Whatever interrupts it, it gives back what it is
        at."""
        with self._alone():
            tasks = self.place.home / "tasks"
            shutil.rmtree(tasks, ignore_errors=True)  # of one that was killed: the service has what it measured
            self._tell(f"{self.place.name} works for {self._work.url}: {', '.join(self.place.labels)}")
            if not self._candidates():
                raise UsageError("no candidate can be replayed", where=", ".join(map(str, self.place.candidates)))
            while (took := self._next(ends)) or ends != "idle":
                if took is None:
                    time.sleep(poll_s)
                else:
                    self._do(*took, tasks)

    def _next(self, ends: str) -> tuple[Leased, Candidate, float] | None:
        """A task, and when it was asked for. A service that does not answer is asked again, unless this ends when
        idle."""
        pause_s = _PAUSES_S[0]
        versions = {"paritygate": __version__, "python": platform.python_version()}
        while True:
            found = self._candidates()
            revisions = {revision: each.suites for revision, each in found.items()}
            asked = time.monotonic()
            try:
                task = self._work.lease(self.place.name, self.place.labels, revisions, versions)
                return None if task is None else (task, found[task.revision], asked)
            except Unreachable as reason:
                if ends == "idle":
                    raise
                if pause_s == _PAUSES_S[0]:
                    self._tell(f"{reason.what}; it is asked again until it does")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSES_S[1])

    def _candidates(self) -> dict[str, Candidate]:
        """By revision, as they are now: somebody may have checked out another, changed a file, or broken it."""
        for folder in self.place.candidates:
            before = self._known.pop(folder, None)
            try:
                self._known[folder] = now = find(folder, before)
                self._broken.pop(folder, None)
                if now is not before:
                    self._tell(f"has {now.revision} in {folder}: {', '.join(now.suites) or 'no suite'}")
            except HarnessError as reason:
                if self._broken.get(folder) != str(reason):
                    self._tell(f"has nothing in {folder}: {reason}")
                self._broken[folder] = str(reason)
        return {each.revision: each for each in reversed(self._known.values())}

    def _do(self, task: Leased, candidate: Candidate, asked: float, tasks: Path) -> None:
        """One task, from its lease to its end, whatever that is."""
        named = f"task {task.task}"
        cells = ", ".join(task.cells) if len(task.cells) < 3 else f"{len(task.cells)} cells"
        what = f"{task.suite} in {cells} at {task.revision[:12]}"
        self._tell(f"{named} of job {task.job} in {task.project}: {what}, attempt {task.attempt}")
        folder, beats = tasks / str(task.task), self._connect()
        try:
            with Keeping(beats, task, asked) as keeping:
                doing = Doing(self._work, task, candidate, folder, keeping, lambda line: self._tell(f"{named}: {line}"))
                doing.do(self.place.home / "cache", self.place.processes)
        except (LeaseLost, Unreachable) as reason:
            self._tell(f"{named}: stopped: {reason.what}")
        finally:
            beats.close()
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.place.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.place.home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UsageError("a worker of this name is at work", where=self.place.name, try_="--name OTHER") from None
        try:
            yield
        finally:
            os.close(handle)


def name_of(host: str) -> str:
    """A worker's name from that of its machine."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", host).strip("-.")[:64] or "worker"
