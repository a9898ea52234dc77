"""One task: replayed in its candidate by the command line, sent as it goes, and ended one way or another."""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from paritygate.client.candidates import Candidate, command_of, environment_of, revision_of
from paritygate.client.following import Following
from paritygate.client.keeping import Keeping
from paritygate.client.running import Running
from paritygate.client.work import Differs, LeaseLost, Unreachable, Work
from paritygate.core.errors import ExitCode, HarnessError, InfrastructureError
from paritygate.core.project import Leased

T = TypeVar("T")
Tell = Callable[[str], None]

_LOOKS_EVERY_S = 0.5  # at whether the replay has ended
_SENDS_EVERY_S = 1.0
_RETRY_S = 1.0
_TRIES = 3
_HAVE_A_RUN = (ExitCode.PASS, ExitCode.DRIFT, ExitCode.INFRASTRUCTURE, ExitCode.NOTHING_COMPARED)
_NOT_AS_BEGUN = (ExitCode.USAGE, ExitCode.GOLDEN)


class Doing:
    """A task that this worker holds. Everything raises LeaseLost once it does not any more."""

    def __init__(self, work: Work, task: Leased, candidate: Candidate, folder: Path, keeping: Keeping, tell: Tell):
        self._work, self._task, self._candidate, self._keeping = work, task, candidate, keeping
        self._folder, self._tell = folder, tell
        self._runs = folder / "runs"
        self._following: Following | None = None

    def do(self, cache: Path, processes: int | None) -> None:
        """From its lease to its end. Interrupted, it gives the task back, with what was measured."""
        try:
            self._end(*self._replayed(cache, processes))
        except KeyboardInterrupt:
            self._give_back()
            raise
        except (LeaseLost, Unreachable):
            raise
        except HarnessError as reason:
            self._fail(str(reason))

    def _replayed(self, cache: Path, processes: int | None) -> tuple[int, str]:
        """The exit code of the run, and what its command said; goes on where an earlier worker ended, if it can."""
        environment = environment_of({"PARITYGATE_RUNS": str(self._runs), "XDG_CACHE_HOME": str(cache)})
        self._empty()
        if revision_of(self._candidate.folder) != self._task.revision:
            return ExitCode.USAGE, "the candidate was changed before it was replayed"
        kept = self._insist(lambda: self._work.kept(self._task))
        if kept.run:
            ended = self._resumed(kept.run, environment, lambda: self._work.fetch(self._task, kept, self._runs))
            if ended is not None:
                return ended
        task = self._task
        workers = ["--workers", str(processes)] if processes else []
        where = ["--suite", task.suite, "--cells", ";".join(task.cells), "--mode", task.mode]
        return self._watched(["run", ",".join(task.cases) or task.suite, *where, *workers, "--quiet"], environment)

    def _resumed(self, run: str, environment: dict[str, str], fetch: Callable[[], Path]) -> tuple[int, str] | None:
        """None where the earlier part does not go with what is here: then it is dropped, and the task says why."""
        try:
            folder = self._insist(fetch)
            self._tell(f"goes on with {run}")
            self._following = self._follow(folder)
            code, said = self._watched(["run", "--resume", run, "--quiet"], environment)
        except (LeaseLost, Unreachable):
            raise
        except HarnessError as reason:
            code, said = int(ExitCode.USAGE), str(reason)
        if code not in _NOT_AS_BEGUN:
            return code, said
        self._tell(f"begins anew: {_first(said)}")
        self._insist(lambda: self._work.begin_anew(self._task, said))
        self._empty()
        return None

    def _empty(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._runs.mkdir(parents=True)
        self._following = None

    def _watched(self, arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
        """Runs the command, and sends meanwhile what it measures."""
        command = command_of(self._candidate.interpreter, *arguments)
        with Running(command, self._candidate.folder, environment, self._folder) as running:
            sent = 0.0
            while (code := running.ended_within(_LOOKS_EVERY_S)) is None:
                self._require_held()
                if time.monotonic() - sent >= _SENDS_EVERY_S:
                    self._send_so_far()
                    sent = time.monotonic()
        return code, (running.complained or running.said).strip()

    def _send_so_far(self) -> None:
        """A service that does not answer, or has lost some of it, gets it the next time."""
        if self._following is None:
            begun = next(self._runs.glob("*/run.json"), None)
            self._following = self._follow(begun.parent) if begun else None
        if self._following is not None:
            try:
                self._following.send_so_far()
            except (Unreachable, Differs):
                return
            self._keeping.tell(self._following.progress())

    def _follow(self, folder: Path) -> Following:
        return Following(folder, lambda *piece: self._work.put(self._task, *piece))

    def _end(self, code: int, said: str) -> None:
        """Makes the run the project's, where there is one, judged, of the candidate that was asked for."""
        self._send_so_far()
        following = self._following
        if revision_of(self._candidate.folder) != self._task.revision:
            self._fail("the candidate was changed while it was replayed")
        elif following and code in _HAVE_A_RUN and (following.folder / "rows.jsonl").is_file():
            self._keeping.tell({"phase": "sending"})
            run = self._finished(code, following)
            self._tell(f"done, exit code {code}: {run}")
        else:
            self._fail(_why(code, said))

    def _finished(self, code: int, following: Following) -> str:
        """The name of the run. Once this was asked for, nothing is sent any more: the answer may be what was lost."""
        for _ in range(_TRIES):
            try:
                sent = self._insist(following.send_all)
                return self._insist(partial(self._work.finish, self._task, code, sent))
            except Differs:
                following.forget()
        raise InfrastructureError("the service does not have what it was sent", where=f"task {self._task.task}")

    def _fail(self, reason: str) -> None:
        self._insist(lambda: self._work.fail(self._task, reason))
        self._tell(f"failed: {_first(reason)}")

    def _give_back(self) -> None:
        """Another may go on at once, with all that was measured."""
        try:
            if self._following is not None:
                self._following.send_so_far()
            self._work.give_back(self._task)
            self._tell("given back")
        except HarnessError as reason:
            self._tell(f"not given back, its lease will run out: {reason.what}")

    def _insist(self, ask: Callable[[], T]) -> T:
        """Asks until the service answers."""
        while True:
            self._require_held()
            try:
                return ask()
            except Unreachable:
                self._keeping.lost.wait(_RETRY_S)

    def _require_held(self) -> None:
        if self._keeping.lost.is_set():
            raise LeaseLost(self._keeping.why, where=f"task {self._task.task}")


def _why(code: int, said: str) -> str:
    """Why a command has no run, in its own words."""
    if code < 0:
        return f"the run was killed by signal {-code}\n{said[-1000:]}".strip()
    hint = (
        "\n  try       paritygate golden pull where the worker is, then the job again"
        if code == ExitCode.GOLDEN
        else ""
    )
    return (said[-3000:] or f"the run ended with code {code} and said nothing") + hint


def _first(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no reason was given")
