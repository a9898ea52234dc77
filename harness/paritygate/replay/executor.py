"""Who works on the jobs of a run, and where: what every executor does alike, and gathering what its workers say."""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from paritygate.core.codec import from_json
from paritygate.core.errors import InfrastructureError
from paritygate.core.progress import SILENT, STARTING, Doing, Progress
from paritygate.replay.platforms import Presence


class Environment(Protocol):
    """How a worker's process is started."""

    @property
    def interpreter(self) -> str: ...

    @property
    def platform(self) -> str: ...

    @property
    def devices(self) -> int: ...

    @property
    def alone(self) -> str:
        """The device that no other worker of this machine may use meanwhile; empty for none."""
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


def named(job: Job) -> str:
    """What a problem calls whoever works on the job."""
    return "worker for " + ", ".join(map(str, job.cells))


@dataclass(frozen=True)
class Began:
    """A worker was started."""

    number: int
    cells: str


@dataclass(frozen=True)
class Said:
    """One line of a process of a worker."""

    number: int
    member: int
    message: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """All processes of a worker are gone, and what went wrong with it."""

    number: int
    problems: tuple[str, ...] = ()


News = Began | Said | Ended


class Executor(Protocol):
    """Turns jobs into workers, and hands over what they say. Nothing is ever run twice: what is lost is a problem."""

    @property
    def workers(self) -> int:
        """How many are at work at a time."""
        ...

    def shares(self, environment: Environment) -> int:
        """Among how many workers the cells of one environment are best shared out."""
        ...

    def presence(self, platform: str, interpreter: str) -> Presence:
        """What there is of an accelerator where a worker would be: the most devices that one can have."""
        ...

    def run(
        self, jobs: Sequence[tuple[int, Job]], folder: Path, timeout_s: float, compile_cache: str
    ) -> Generator[Sequence[News], None, None]:
        """Works on the jobs, each with its number; what is new in turns, some of which are empty.

        Jobs and logs go into the folder's `workers/`. Closing it ends all workers. Of a worker that dies or runs out of
        time, `Ended` says so. Raises InfrastructureError where none can be started.
        """
        ...


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

    def recorded(self, number: int, member: int, record: dict[str, Any]) -> None:
        """Takes what a worker says of itself: before the first value of a candidate, after each cell, at its end."""
        self._records[number, member] = record

    @abstractmethod
    def found(self, message: dict[str, Any], number: int) -> None:
        """Takes what a worker says of the candidate."""

    def take(self, news: News) -> None:
        match news:
            case Began(number, cells):
                self.progress.at(number, Doing(cell=cells, phase=STARTING))
            case Ended(number, problems):
                self.problems += problems
                self.progress.ended(number)
            case Said(number, member, message):
                if record := message.get("done") or message.get("record"):
                    self.recorded(number, member, record)
                elif "doing" in message:
                    self.progress.at(number, from_json(Doing, message["doing"]))
                else:
                    self.found(message, number)


def run_all(
    jobs: Sequence[Job],
    folder: Path,
    executor: Executor,
    timeout_s: float,
    compile_cache: Path | None,
    gathered: Gathered,
) -> None:
    """Runs every job; a worker that dies or runs out of time becomes a problem.

    Workers are numbered on from those that the folder has. Raises InfrastructureError where one cannot be started.
    """
    numbered = list(enumerate(jobs, len(list((folder / "workers").glob("*.job.json")))))
    with closing(executor.run(numbered, folder, timeout_s, str(compile_cache or ""))) as turns:
        for events in turns:
            for event in events:
                gathered.take(event)


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
