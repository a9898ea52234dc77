"""The folder DATA: projects, their runs, what is on its way. Every path is made here, of checked names.

Reads and writes `project.json`, `upload.json` and `pin.json`.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from paritygate.core.codec import from_json, readable
from paritygate.core.errors import UsageError
from paritygate.core.project import Arrival, Pin, ProjectInfo
from paritygate.core.project import FileHash as FileHash  # where who uploads finds it
from paritygate.core.run import write_atomic
from paritygate.core.run_files import RUN_FILES, is_run_name
from paritygate.service.config import ServiceConfig
from paritygate.service.problems import Conflict, NotFound, Refused

T = TypeVar("T")


LOCAL = "local"  # the project of this machine's own runs, which has no folder in DATA
PROJECT_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
LATEST = "latest"

OWN_FILES = ("upload.json", "pin.json")


class Folders:
    """Where everything is. A name that is no name is refused before it becomes a path."""

    def __init__(self, config: ServiceConfig):
        self.config, self.data = config, config.data
        self.has_local = config.unnamed == "loopback"

    def projects(self) -> list[str]:
        """Names, sorted; with `local` where there is one."""
        found = [path.parent.name for path in self.data.glob("projects/*/project.json")]
        named = [name for name in found if re.fullmatch(PROJECT_NAME, name) and name != LOCAL]
        return sorted([*named, *([LOCAL] * self.has_local)])

    def create(self, name: str) -> Path:
        """A new, empty project. Raises Refused on a bad name, Conflict where there is one of that name."""
        if not re.fullmatch(PROJECT_NAME, name) or name == LOCAL:
            expected = "a lower-case letter or digit, then up to 63 of these and . _ -; not local"
            raise Refused("no name for a project", where=_shown(name), expected=expected)
        folder = self.data / "projects" / name
        for part in ("runs", "baselines"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        temporary = folder / f".project.{os.getpid()}.{time.monotonic_ns()}.tmp"
        write_atomic(temporary, readable(ProjectInfo(name, time.time())).encode())
        try:
            os.link(temporary, folder / "project.json")  # unlike a rename, of two that do this one fails
        except FileExistsError:
            raise Conflict("there is a project of that name", where=name) from None
        finally:
            temporary.unlink()
        return folder

    def project(self, name: str) -> Path:
        """The folder of a project that keeps its own. Raises NotFound; of `local` too, which has none."""
        folder = self.data / "projects" / name
        if not re.fullmatch(PROJECT_NAME, name) or name == LOCAL or not (folder / "project.json").is_file():
            raise NotFound("no such project", where=_shown(name), try_="an admin makes one, on the page /projects")
        return folder

    def info(self, name: str) -> ProjectInfo:
        return read(self.project(name) / "project.json", ProjectInfo)

    def runs(self, name: str) -> Path:
        """The folder of a project's runs. Raises NotFound."""
        return self.config.runs if name == LOCAL and self.has_local else self.project(name) / "runs"

    def run(self, project: str, run: str) -> Path:
        """The folder of a run. Raises Refused on what is no name, NotFound where there is none."""
        folder = self.runs(project) / run_name(run)
        if not (folder / "run.json").is_file():
            raise NotFound("no such run", where=f"{project}/{run}")
        return folder

    def file(self, project: str, run: str, name: str) -> Path:
        """A file of a run, of those that there may be. Raises NotFound."""
        path = self.run(project, run) / name if name in (*RUN_FILES, *OWN_FILES) else None
        if path is None or path.is_symlink() or not path.is_file():
            raise NotFound("no such file of a run", where=f"{project}/{run}", expected=", ".join(RUN_FILES))
        return path

    def baselines(self, project: str) -> Path:
        """The folder of what a project accepted; its audit lies beside it."""
        if project == LOCAL and self.has_local:
            return self.config.golden / "baselines"
        return self.project(project) / "baselines"

    def upload(self, id: str) -> Path:
        return self.data / "uploads" / _id(id)

    def task(self, id: int) -> Path:
        return self.data / "tasks" / str(int(id))

    def removed(self, project: str) -> Path:
        """Where what is being removed goes first, so that it is no run any more while that lasts."""
        return self.project(project) / "removed"

    @contextmanager
    def locked(self, project: str) -> Iterator[None]:
        """Held while a project's folder changes: by one thread, of one server, of all that share DATA."""
        at = self.data if project == LOCAL else self.project(project)  # `local` has no folder of its own here
        handle = os.open(at / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def run_name(name: str) -> str:
    """The name as it is; raises Refused where a folder could not, or must not, be called so."""
    if not is_run_name(name) or name == LATEST:
        expected = "a letter or digit, then up to 127 of these and . _ -; not latest, and no .json at its end"
        raise Refused("no name for a run", where=_shown(name), expected=expected)
    return name


def _id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,64}", text):
        raise NotFound("no such upload", where=_shown(text))
    return text


def _shown(name: str) -> str:
    return ascii(name[:80])


def read(path: Path, cls: type[T]) -> T:
    """A file of one value. Raises UsageError that names it where it cannot be read."""
    try:
        return from_json(cls, json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError, RecursionError) as reason:
        raise UsageError(f"{path.name} cannot be read", where=str(path), got=str(reason)) from None


def arrival_of(folder: Path) -> Arrival:
    return read(folder / "upload.json", Arrival)


def pin_of(folder: Path) -> Pin | None:
    """Who keeps a run, and why; None where nobody does."""
    return read(folder / "pin.json", Pin) if (folder / "pin.json").is_file() else None


def write(path: Path, value: Arrival | Pin) -> None:
    write_atomic(path, readable(value).encode())


def sync(folder: Path) -> None:
    """What was renamed in or out of a folder is on disk when this returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
