"""Runs that arrive: a manifest, then each file piece by piece, then the whole run into its project.

Reads and writes `uploads/ID/`: `manifest.json`, a file `N.part` for the Nth of the manifest, and at the end `whole/`,
which becomes the run's folder. How far a file is, is how long its part is: nothing else has to survive a kill.
"""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from paritygate.core.codec import readable
from paritygate.core.errors import UsageError
from paritygate.core.project import Arrival, FileHash
from paritygate.core.run import Run, write_atomic
from paritygate.core.run_files import RUN_FILES
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.folders import Folders, arrival_of, read, run_name, sync
from paritygate.service.index import add_run, take_in
from paritygate.service.lines import project_line
from paritygate.service.local import refuse
from paritygate.service.problems import Conflict, NotFound, Refused, TooLarge, TooMany
from paritygate.service.queries import run as summary_of
from paritygate.service.receiving import Part, full_disk
from paritygate.service.summaries import RunSummary
from paritygate.service.tables import project as projects
from paritygate.service.tables import upload
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service

NEEDED = ("run.json", "rows.jsonl")


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`: what will come, and from where."""

    run: str
    files: dict[str, FileHash]
    branch: str = ""
    commit: str = ""
    pull_request: str = ""

    def arrival(self, by: str) -> Arrival:
        return Arrival(self.branch, self.commit, self.pull_request, by, time.time(), 0, self.files)


@dataclass(frozen=True)
class FileState:
    """How many bytes of a file are here."""

    name: str
    have: int


@dataclass(frozen=True)
class State:
    """How far an upload is. `there` is the run, where it is in its project, and there is nothing left to upload."""

    upload: str
    run: str
    files: tuple[FileState, ...]
    there: RunSummary | None = None


def begin(service: "Service", caller: Caller, project: str, manifest: Manifest) -> State:
    """A new upload, or the one of the same content that is under way, or the run that is there with it.

    Raises Conflict where a run of that name has other content, Full where the disk has no room for it.
    """
    refuse(project, "run SUITE")
    folders = Folders(service.config)
    content = _checked(service, manifest)
    target = folders.runs(project) / run_name(manifest.run)
    if target.exists():
        return _there(service, project, manifest.run, content, target)
    drop_expired(service)
    if found := _find(service, folders, project, manifest.run, content):
        return state(service, project, found)
    return state(service, project, _new(service, folders, caller, project, manifest, content))


def _checked(service: "Service", manifest: Manifest) -> str:
    """The hash of its content; raises where it is more, or other, than a run may have."""
    limits, total = service.config.limits, sum(each.bytes for each in manifest.files.values())
    if unknown := sorted(set(manifest.files) - {*RUN_FILES}):
        raise Refused("no file of a run", where=ascii(unknown[0][:80]), expected=", ".join(RUN_FILES))
    if lacking := [name for name in NEEDED if name not in manifest.files]:
        raise Refused("run is not judged, or is none", expected=" and ".join(NEEDED), got=f"no {lacking[0]}")
    if large := [name for name, each in manifest.files.items() if each.bytes > limits.file_bytes]:
        raise TooLarge("file is too large", where=large[0], expected=f"at most {limits.file_bytes:,} bytes")
    if total > limits.run_bytes:
        raise TooLarge("run is too large", expected=f"at most {limits.run_bytes:,} bytes", got=f"{total:,}")
    return manifest.arrival("").content


def _there(service: "Service", project: str, run: str, content: str, target: Path) -> State:
    there = arrival_of(target)
    if there.content != content:
        raise Conflict("there is a run of that name with other content", where=f"{project}/{run}")
    take_in(service, project, run)  # where a server was killed before its line, and another one is asked now
    files = tuple(FileState(name, each.bytes) for name, each in there.files.items())
    return State("", run, files, summary_of(service, project, run))


def _find(service: "Service", folders: Folders, project: str, run: str, content: str) -> str | None:
    with writing(service.engine).begin() as connection:
        project_id = project_line(connection, project, folders.info(project).created)
        same = (upload.c.project_id == project_id, upload.c.run == run, upload.c.content == content)
        found = connection.execute(select(upload.c.id).where(*same)).scalar()
        if found and not (folders.upload(found) / "manifest.json").is_file():  # DATA was restored without it
            connection.execute(delete(upload).where(upload.c.id == found))
            return None
    return found


def _new(service: "Service", folders: Folders, caller: Caller, project: str, manifest: Manifest, content: str) -> str:
    """The folder first: a kill before there is a line of it leaves one that is dropped in time."""
    id, now, total = secrets.token_hex(16), time.time(), sum(each.bytes for each in manifest.files.values())
    if shutil.disk_usage(service.config.data).free < total:
        raise full_disk(f"{total:,} bytes")
    folder = folders.upload(id)
    folder.mkdir(parents=True)
    try:
        write_atomic(folder / "manifest.json", readable(manifest).encode())
        with writing(service.engine).begin() as connection:
            project_id = project_line(connection, project, folders.info(project).created)
            mine = select(func.count()).select_from(upload).where(upload.c.who == caller.name)
            if connection.execute(mine).scalar_one() >= (most := service.config.limits.open_uploads):
                raise TooMany("too many uploads under way", where=caller.name, expected=f"at most {most}")
            line = {"id": id, "project_id": project_id, "run": manifest.run, "content": content, "who": caller.name}
            connection.execute(upload.insert().values(**line, total_bytes=total, created=now, touched=now))
            note(connection, caller.name, "upload begun", project, manifest.run, upload=id)
    except IntegrityError:  # another one of the same content began at the same moment
        shutil.rmtree(folder)
        if found := _find(service, folders, project, manifest.run, content):
            return found
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return id


def state(service: "Service", project: str, id: str) -> State:
    """Raises NotFound where no such upload is under way in the project."""
    folder, manifest = _open(service, project, id)
    parts = ((name, folder / f"{number}.part") for number, name in enumerate(manifest.files))
    return State(id, manifest.run, tuple(FileState(name, _size(path)) for name, path in parts))


def part(service: "Service", project: str, id: str, name: str, offset: int, packed: str) -> Part:
    """One file, to be gone on with at `offset`. Raises Conflict where it is not as far as that, or is being sent."""
    folder, manifest = _open(service, project, id)
    if name not in manifest.files:
        raise NotFound("no such file in the manifest", where=ascii(name[:80]))
    with writing(service.engine).begin() as connection:
        connection.execute(update(upload).where(upload.c.id == id).values(touched=time.time()))
    number = list(manifest.files).index(name)
    return Part.open(folder / f"{number}.part", name, manifest.files[name].bytes, offset, packed)


def finish(service: "Service", caller: Caller, project: str, id: str) -> RunSummary:
    """Hashes what came and moves it into its project. A file that is not what was promised starts again (422).

    Twice at once is as twice behind each other: the second finds the run there.
    """
    folder, manifest = _open(service, project, id)
    with _alone(folder):
        if not (folder / "manifest.json").is_file():  # whoever had the lock before was done with it
            target = Folders(service.config).run(project, manifest.run)
            there = _there(service, project, manifest.run, manifest.arrival("").content, target).there
            assert there is not None
            return there
        whole = _whole(folder, manifest)
        try:
            if (named := Run.open(whole).info.id) != manifest.run:
                raise Refused("run has another name", where=manifest.run, got=ascii(named[:128]))
            found = add_run(service, project, whole, manifest.arrival(caller.name))
        except UsageError as reason:  # as it would be the next time
            _drop(service, id, folder)
            raise _of_run(reason, whole, manifest.run) from None
        _drop(service, id, folder)
    return found


def _whole(folder: Path, manifest: Manifest) -> Path:
    """The run's folder, made of links to the parts, so that a kill in between costs nothing. All of it is on disk."""
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    for number, (name, promised) in enumerate(manifest.files.items()):
        part = folder / f"{number}.part"
        if not promised.bytes:
            part.touch()
        Part.settle(part, name, promised.bytes, promised.sha256)
        os.link(part, whole / name)
    sync(whole)
    return whole


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Held while an upload ends. One that comes second waits, also where the folder is gone by then."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("no such upload", where=folder.name) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _of_run(reason: UsageError, whole: Path, run: str) -> UsageError:
    """The same error without the path of a folder that is the service's own business."""
    for name in ("where", "got", "expected", "try_"):
        setattr(reason, name, getattr(reason, name).replace(str(whole), run))
    return reason


def drop_expired(service: "Service") -> None:
    """Uploads that nobody went on with in time, and folders that a kill left without a line."""
    folders, oldest = Folders(service.config), time.time() - service.config.limits.upload_s
    with service.engine.connect() as connection:
        lines = {each.id: each.touched for each in connection.execute(select(upload.c.id, upload.c.touched))}
    there = {
        path.name for path in (service.config.data / "uploads").glob("*") if re.fullmatch("[0-9a-f]{32}", path.name)
    }
    for id in lines.keys() | there:
        folder = folders.upload(id)
        with suppress(FileNotFoundError):  # somebody else was faster
            if (lines.get(id) or folder.stat().st_mtime) < oldest:
                _drop(service, id, folder)


def _drop(service: "Service", id: str, folder: Path) -> None:
    """The manifest first: without it there is no upload, whatever else a kill leaves."""
    (folder / "manifest.json").unlink(missing_ok=True)
    with writing(service.engine).begin() as connection:
        connection.execute(delete(upload).where(upload.c.id == id))
    shutil.rmtree(folder, ignore_errors=True)


def _open(service: "Service", project: str, id: str) -> tuple[Path, Manifest]:
    folder = Folders(service.config).upload(id)
    query = select(projects.c.name).join(upload, upload.c.project_id == projects.c.id).where(upload.c.id == id)
    with service.engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found != project or not (folder / "manifest.json").is_file():
        raise NotFound("no such upload", where=id, try_="the manifest again: what is here is gone on with")
    return folder, read(folder / "manifest.json", Manifest)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
