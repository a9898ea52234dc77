"""What a worker asks of a service, over HTTP: a task, to keep it, to send what comes of it."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from paritygate.client.transport import open_client
from paritygate.core.codec import from_json, to_json
from paritygate.core.errors import HarnessError, InfrastructureError, UsageError
from paritygate.core.project import Leased
from paritygate.core.run_files import GROWING, RUN_FILES, is_run_name
from paritygate.core.trust import Trust

PIECE_BYTES = 1 << 19  # of a file at a time: below what a service takes of any body
_AGAIN = (408, 425, 429, 500, 502, 503, 504, 507, 511)  # the service, or what is before it, may answer later
_FILE = "application/octet-stream"
_FINISH_S = 900.0  # a large run is checked and indexed before the answer comes


class Unreachable(InfrastructureError):
    """The service does not answer now: nobody does, or somebody who is none, such as a network that wants a login."""


class LeaseLost(InfrastructureError):
    """The task is not, or no longer, this worker's: it stops, and sends nothing more."""


class Differs(InfrastructureError):
    """What the service has of the task is not what was taken for sent: all of it is sent again."""


@dataclass(frozen=True)
class Sent:
    """A file, as the service has it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Kept:
    """What the service has of a task from earlier workers; an empty `run` is nothing."""

    run: str
    files: Mapping[str, Sent] = field(default_factory=dict)


@dataclass(frozen=True)
class _Beat:
    state: str
    left_s: float


@dataclass(frozen=True)
class _Finished:
    run: str


class Work:
    """The routes of a service below `/api/work`."""

    def __init__(
        self, url: str, token: str = "", trust: Trust = "https", transport: httpx2.BaseTransport | None = None
    ):
        self.url, self._client = url, open_client(url, token, trust, 30.0, transport)

    def lease(
        self, worker: str, labels: Sequence[str], revisions: Mapping[str, Sequence[str]], versions: Mapping[str, str]
    ) -> Leased | None:
        """The next task that this worker may do; None where there is none."""
        said = {"worker": worker, "labels": labels, "revisions": revisions, "versions": versions}
        given = self._asked("POST", "/lease", json=to_json(said))
        return None if given is None else from_json(Leased, given, "lease")

    def heartbeat(self, task: Leased, progress: Mapping[str, Any]) -> float:
        """How long the lease holds from when this was asked. Raises LeaseLost, also where the job was cancelled."""
        said = self._of(task, "POST", "/heartbeat", json=dict(progress), timeout=10.0)
        beat = from_json(_Beat, said, "heartbeat")
        if beat.state == "cancelled":
            raise LeaseLost("job was cancelled", where=f"task {task.task}")
        return beat.left_s

    def give_back(self, task: Leased) -> None:
        self._of(task, "POST", "/give-back")

    def fail(self, task: Leased, reason: str) -> None:
        self._of(task, "POST", "/fail", json={"reason": _fitting(reason)})

    def begin_anew(self, task: Leased, reason: str) -> None:
        """Drops what the service has of the task."""
        self._of(task, "POST", "/begin-anew", json={"reason": _fitting(reason)})

    def kept(self, task: Leased) -> Kept:
        return from_json(Kept, self._of(task, "GET", "/files"), "files")

    def put(self, task: Leased, name: str, way: str, offset: int, size: int, content: bytes) -> None:
        """A piece of a file. Raises Differs where it does not join what the service has."""
        digest = hashlib.sha256(content).hexdigest()
        where = {"name": name, "way": way, "offset": offset, "size": size, "sha256": digest}
        self._of(task, "PUT", "/content", params=where, content=content)

    def fetch(self, task: Leased, kept: Kept, runs: Path) -> Path:
        """The run folder of an earlier worker, made again below `runs`; of a file that grows, whole lines."""
        if not is_run_name(kept.run) or not set(kept.files) <= set(RUN_FILES):
            raise InfrastructureError("the service names files that no run has", where=ascii(kept.run)[:80])
        folder = runs / kept.run
        folder.mkdir(parents=True, exist_ok=True)  # of a connection that broke in the middle
        for name, sent in kept.files.items():
            self._fetch(task, name, sent, folder / name)
        return folder

    def _fetch(self, task: Leased, name: str, sent: Sent, path: Path) -> None:
        digest = hashlib.sha256()
        where: Any = {"params": {"name": name}, "headers": {"Paritygate-Lease": task.lease}}
        with self._reached(), path.open("w+b") as file:
            with self._client.stream("GET", f"/api/work/tasks/{task.task}/content", **where) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer, self.url, of_task=True)
                if answer.headers.get("content-type") != _FILE:
                    raise _stranger(answer, self.url)
                for some in answer.iter_bytes():
                    digest.update(some)
                    file.write(some)
            if digest.hexdigest() != sent.sha256:
                got = digest.hexdigest()
                raise InfrastructureError(
                    "file is not what the service said", where=name, expected=sent.sha256, got=got
                )
            if name in GROWING:
                file.truncate(_whole_lines(file))

    def finish(self, task: Leased, exit_code: int, files: Mapping[str, Sent]) -> str:
        """The name of the run, which is the project's from now on. Raises Differs."""
        said = {"exit_code": exit_code, "files": to_json(files)}
        return from_json(_Finished, self._of(task, "POST", "/finish", json=said, timeout=_FINISH_S), "finish").run

    def close(self) -> None:
        self._client.close()

    def _of(self, task: Leased, method: str, path: str, **more: Any) -> Any:
        return self._asked(method, f"/tasks/{task.task}{path}", headers={"Paritygate-Lease": task.lease}, **more)

    def _asked(self, method: str, path: str, **more: Any) -> Any:
        """What the service says, which is JSON; None where it has nothing to say."""
        with self._reached():
            answer = self._client.request(method, "/api/work" + path, **more)
        if not answer.is_success:
            raise _refusal(answer, self.url, of_task="headers" in more)
        if answer.status_code == 204:
            return None
        try:
            return answer.json()
        except ValueError:
            raise _stranger(answer, self.url) from None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx2.RequestError as reason:
            got = f"{type(reason).__name__}: {reason}"
            raise Unreachable("service does not answer", where=self.url, got=got) from None


def _stranger(answer: httpx2.Response, url: str) -> Unreachable:
    """Of an answer that no service gives: somebody is in between, and will not be for ever."""
    got = f"HTTP {answer.status_code}, {answer.headers.get('content-type', 'nothing')}"
    try_ = "the address of a service; or whatever its network wants before it lets anybody through"
    return Unreachable("no paritygate service answers there", where=url, got=got, try_=try_)


def _refusal(answer: httpx2.Response, url: str, *, of_task: bool) -> HarnessError:
    if answer.is_redirect:  # none of ours is one
        return _stranger(answer, url)
    try:
        said = answer.json()["error"]
        words = {name: str(said[name]) for name in ("where", "expected", "got")} | {"try_": str(said["try"])}
        what = str(said["what"])
    except (ValueError, KeyError, TypeError):
        what, words = f"the service answered {answer.status_code}", {"where": url, "got": answer.text[:200]}
    if answer.status_code in _AGAIN:
        return Unreachable(what, **words)
    if of_task and answer.status_code in (404, 409):
        return LeaseLost(what, **words)
    return Differs(what, **words) if answer.status_code == 412 else UsageError(what, **words)


def _fitting(reason: str) -> str:
    """As much of a reason as the service takes."""
    return reason.replace("\0", "?").encode("utf-8", "replace").decode()[-4000:] or "no reason was given"


def _whole_lines(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - (1 << 16))
        file.seek(start)
        if (at := file.read(end - start).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0
