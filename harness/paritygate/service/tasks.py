"""The folder of a task: it follows the run folder of whoever works at it, and becomes a run of the project.

Of a file that grows what is new is added in its place; a file that is replaced comes in pieces too, put together beside
the old one. Whoever takes over goes on with what is here.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select, update

from paritygate.core.project import Arrival, FileHash
from paritygate.core.run import Run
from paritygate.core.run_files import RUN_FILES, files_of
from paritygate.service.database import writing
from paritygate.service.events import tell
from paritygate.service.folders import Folders, run_name
from paritygate.service.index import add_run
from paritygate.service.leases import Held, done, held, line, require_holding
from paritygate.service.problems import Conflict, NotFound, Refused, TooLarge
from paritygate.service.tables import run, task
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service


Way = Literal["add", "replace"]


class Differs(Refused):
    """What is here of a task is not what the worker takes it to be: it sends all of it again."""

    status = 412


@dataclass(frozen=True)
class Piece:
    """Bytes of a file, from `offset` on, of `size` that are on their way."""

    name: str
    way: Way
    offset: int
    size: int
    sha256: str  # of these bytes
    content: bytes


@dataclass(frozen=True)
class Kept:
    """What the service has of a task: the name of its run, empty where nothing is there, and its files."""

    run: str
    files: Mapping[str, FileHash]


def kept(service: "Service", caller: Caller, number: int, key: str) -> Kept:
    """For whoever goes on with the task."""
    with held(service, caller, number, key):
        folder = Folders(service.config).task(number)
    files = {name: _hashed(folder / name) for name in files_of(folder)}
    return Kept(Run.open(folder).info.id if "run.json" in files else "", files)


def content(service: "Service", caller: Caller, number: int, key: str, name: str) -> Path:
    with held(service, caller, number, key):
        path = Folders(service.config).task(number) / _checked(name)
    if not path.is_file():
        raise NotFound("no such file of the task", where=name)
    return path


def put(service: "Service", caller: Caller, number: int, key: str, piece: Piece) -> None:
    """Raises Differs where the piece does not join what is there, and TooLarge."""
    name, limits = _checked(piece.name), service.config.limits
    if hashlib.sha256(piece.content).hexdigest() != piece.sha256:
        raise Refused("content is not what was sent", where=name, expected=f"sha256 {piece.sha256[:12]}")
    if piece.offset + len(piece.content) > piece.size:
        raise Refused("piece is longer than its file", where=name, expected=f"{piece.size:,} bytes")
    if piece.size > limits.file_bytes:
        raise TooLarge("file is too large", where=name, expected=f"at most {limits.file_bytes:,} bytes")
    with held(service, caller, number, key):
        folder = Folders(service.config).task(number)
        folder.mkdir(parents=True, exist_ok=True)
        others = sum(path.stat().st_size for path in folder.iterdir() if path.name not in (name, f".{name}.part"))
        if others + piece.size > limits.run_bytes:
            raise TooLarge("run is too large", where=f"task {number}", expected=f"at most {limits.run_bytes:,} bytes")
        _write(folder, piece)


def _write(folder: Path, piece: Piece) -> None:
    """What is replaced stays until the new one is whole."""
    path = folder / (piece.name if piece.way == "add" else f".{piece.name}.part")
    if piece.way == "replace" and piece.offset == 0:
        path.unlink(missing_ok=True)
    there = path.stat().st_size if path.is_file() else 0
    if there != piece.offset:
        raise Differs("piece does not join what is there", where=piece.name, expected=str(there), got=str(piece.offset))
    with path.open("ab") as file:
        file.write(piece.content)
    if piece.way == "replace" and piece.offset + len(piece.content) == piece.size:
        os.replace(path, folder / piece.name)


def begin_anew(service: "Service", caller: Caller, number: int, key: str, reason: str) -> None:
    """Drops what is here of a task that cannot be gone on with, and says why in the task."""
    with held(service, caller, number, key) as (connection, found):
        shutil.rmtree(Folders(service.config).task(number), ignore_errors=True)
        connection.execute(update(task).where(task.c.id == number).values(reason=f"begun anew: {reason}"))
        tell(connection, "task begun anew", found.project, found.job, task=number, reason=reason)


def finish(
    service: "Service", caller: Caller, number: int, key: str, exit_code: int, files: Mapping[str, FileHash]
) -> str:
    """Makes the task's folder a run of its project, and returns its name; asked again, the same answer.

    Raises Differs where a file is not as the worker has it, and Refused where the folder is no run
    of the task.
    """
    with _alone(service, number):
        with writing(service.engine).begin() as connection:
            found, until = line(connection, caller, number, key)
            if found.state == "done":
                return found.run
            require_holding(found, until)
        folders = Folders(service.config)
        folder = folders.task(number)
        if not (found.run and not folder.exists()):
            _require_same(folder, files)
            name = _require_of(found, folder)
            until = time.time() + service.config.limits.finish_s
            with held(service, caller, number, key) as (connection, found):
                values = {"run": name, "exit_code": exit_code, "until": until}
                connection.execute(update(task).where(task.c.id == number).values(**values))
            for part in folder.glob(".*.part"):
                part.unlink()
            arrival = Arrival(found.branch, found.revision, "", caller.name, time.time(), 0, files)
            try:
                add_run(service, found.project, folder, arrival)
            except Conflict as reason:  # nor may the task be taken for done because of that other run
                with held(service, caller, number, key) as (connection, _):
                    connection.execute(update(task).where(task.c.id == number).values(run="", exit_code=None))
                raise Refused(reason.what, where=reason.where) from None
        else:
            name = found.run  # a kill came between its arrival and the line that says so
            _require_arrived(service, found)
        with held(service, caller, number, key) as (connection, found):
            done(connection, caller.name, found, name, exit_code)
        return name


def _require_same(folder: Path, files: Mapping[str, FileHash]) -> None:
    there = {name: _hashed(folder / name) for name in files_of(folder)}
    if differing := sorted(name for name in {*there, *files} if there.get(name) != files.get(name)):
        raise Differs("files are not as the worker has them", expected="each sent whole", got=", ".join(differing))


def _require_of(found: Held, folder: Path) -> str:
    """The name of the run in the folder, once it is known to be of the task, and judged."""
    made = Run.open(folder)
    if made.info.suite != found.suite or set(made.info.cells) != set(found.cells):
        raise Refused(
            "run is not of the task",
            where=f"task {found.task}",
            expected=f"{found.suite} in {', '.join(found.cells)}",
            got=f"{made.info.suite} in {', '.join(made.info.cells)}",
        )
    for _ in made.judged():
        pass
    return run_name(made.info.id)


def _require_arrived(service: "Service", found: Held) -> None:
    asked = select(run.c.id).where(run.c.project_id == found.project_id, run.c.name == found.run)
    with service.engine.connect() as connection:
        if connection.execute(asked).first() is None:
            raise Differs("nothing is here of the task", where=f"task {found.task}", expected="its files, sent again")


@contextmanager
def _alone(service: "Service", number: int) -> Iterator[None]:
    """Held while a task is finished: a worker that got no answer in time asks again. A kill lets go of it."""
    folder = Folders(service.config).task(number)
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.with_name(f".{number}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checked(name: str) -> str:
    if name not in RUN_FILES:
        raise Refused("no such file of a run", where=ascii(name[:80]), expected=", ".join(RUN_FILES))
    return name


def _hashed(path: Path) -> FileHash:
    """What is on disk of it when this returns: a run that arrived is not lost where the power fails."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return FileHash(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def drop_ended(service: "Service", before: float) -> int:
    """Removes what tasks left that have ended and were last written before: folders of those without a run, and locks,
    for which nobody waits any more; how many."""
    dropped = 0
    for path in (service.config.data / "tasks").glob("*"):
        named = _LEFT.fullmatch(path.name)
        if named is None or path.lstat().st_mtime >= before:
            continue
        with service.engine.connect() as connection:
            state = connection.execute(select(task.c.state).where(task.c.id == int(named[1] or named[2]))).scalar()
        if state not in ("queued", "leased"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            dropped += 1
    return dropped


_LEFT = re.compile(r"([0-9]{1,18})|\.([0-9]{1,18})\.lock")
