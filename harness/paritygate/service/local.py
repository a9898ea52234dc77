"""The project `local`: this machine's own runs, indexed where they lie. Writes into none of their folders.

Nobody sent them, so that they have no branch and no commit. Their numbers are their places in the order in which they
began, so that an index that is made again has the same.
"""

import hashlib
import logging
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Select, delete, func, select, update

from paritygate.core.run_files import is_run_name
from paritygate.service.database import writing
from paritygate.service.folders import LOCAL, Arrival, Folders
from paritygate.service.lines import project_line, put_run, put_unreadable
from paritygate.service.problems import Refused
from paritygate.service.reading import Known, readable_or_why
from paritygate.service.tables import project, run

if TYPE_CHECKING:
    from paritygate.service.app import Service

LOG = logging.getLogger(__name__)
EVERY_S = 2.0  # how often a read looks for new runs, at most
_JUDGED = ("run.json", "rows.jsonl", "coverage.json", "lint.json", "programs.json")


class Looked:
    """When the folder of runs was last looked through, by whichever request."""

    def __init__(self) -> None:
        self.lock, self.at = Lock(), -EVERY_S

    def is_due(self) -> bool:
        """At most once in a while, and by one request at a time; the lock is then held."""
        if time.monotonic() - self.at < EVERY_S or not self.lock.acquire(blocking=False):
            return False
        if time.monotonic() - self.at < EVERY_S:
            self.lock.release()
            return False
        return True


def look(service: "Service") -> None:
    """Before a read of `local`: takes in what has ended since."""
    looked = service.looked
    if looked.is_due():
        try:
            scan(service)
        finally:
            looked.at = time.monotonic()
            looked.lock.release()


def refuse(project: str, verb: str) -> None:
    """Raises Refused where a change is asked of `local`, whose files belong to who runs here."""
    if project == LOCAL:
        raise Refused(
            "local is what runs on this machine; here it is only looked at",
            where=LOCAL,
            try_=f"paritygate {verb}, on this machine",
        )


def scan(service: "Service") -> int:
    """Indexes local runs that are new or changed, forgets those that are gone; returns how many lines changed."""
    folders = Folders(service.config)
    if not folders.has_local or not _moved(service).any:
        return 0
    with folders.locked(LOCAL):  # another process may have seen it too, and may be done by now
        moved = _moved(service)
        if not moved.any:
            return 0
        with writing(service.engine).begin() as connection:
            project_id = project_line(connection, LOCAL, 0.0)
            connection.execute(delete(run).where(run.c.project_id == project_id, run.c.name.in_(moved.gone)))
        for name in sorted(moved.changed):
            _index(service, project_id, service.config.runs / name, moved.changed[name])
        with writing(service.engine).begin() as connection:
            _number(connection, project_id)
    return len(moved.changed) + len(moved.gone)


class _Moved(NamedTuple):
    """Where the index differs from the folders: names of runs, those that are there with the print of their files."""

    is_known: bool
    changed: dict[str, str]
    gone: set[str]

    @property
    def any(self) -> bool:
        return bool(not self.is_known or self.changed or self.gone)


def _moved(service: "Service") -> _Moved:
    there = {path.parent.name: path.parent for path in service.config.runs.glob("*/run.json")}
    prints = {name: _print(path) for name, path in there.items() if is_run_name(name)}
    with service.engine.connect() as connection:
        project_id = connection.execute(select(project.c.id).where(project.c.name == LOCAL)).scalar()
        lines = {line.name: line.content for line in connection.execute(_lines(project_id))}
    changed = {name: seen for name, seen in prints.items() if lines.get(name) != seen}
    return _Moved(project_id is not None, changed, lines.keys() - prints.keys())


def _lines(project_id: int | None) -> "Select[*tuple[Any, ...]]":
    columns = (run.c.id, run.c.name, run.c.number, run.c.content, run.c.started, run.c.arrived)
    return select(*columns).where(run.c.project_id == project_id)


def _index(service: "Service", project_id: int, folder: Path, print: str) -> None:
    """Under a number behind all others, until all have theirs."""
    try:
        arrived = (folder / "run.json").stat().st_mtime
    except OSError:
        return  # gone since
    found = readable_or_why(folder, service.config.limits.run_rows)
    with writing(service.engine).begin() as connection:
        last = connection.execute(select(func.max(run.c.number)).where(run.c.project_id == project_id)).scalar()
        arrival = Arrival("", "", "", "", arrived, (last or 0) + 1)
        if isinstance(found, Known):
            put_run(connection, project_id, folder.name, found, arrival, False, print)
        else:
            LOG.warning("run %s cannot be read: %s", folder.name, found)
            put_unreadable(connection, project_id, folder.name, arrival, False, print)


def _number(connection: Connection, project_id: int) -> None:
    """By when they began; of those that do not say, when they were last written."""
    lines = sorted(connection.execute(_lines(project_id)), key=lambda line: (line.started or line.arrived, line.name))
    wanted = {line.id: number for number, line in enumerate(lines, 1) if line.number != number}
    for sign in (-1, 1):  # by way of numbers that none has, for two may not have one even for a moment
        for id, number in wanted.items():
            connection.execute(update(run).where(run.c.id == id).values(number=sign * number))


def _print(folder: Path) -> str:
    """What changes where a run is judged again, without reading it."""
    seen = []
    for name in _JUDGED:
        try:
            stat = (folder / name).stat()
        except OSError:
            continue
        seen.append(f"{name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()
