"""Retention: what is pinned, what is pruned, and in which order, so that no kill leaves half a run."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import delete, select, update

from paritygate.service import audit, queries, tables
from paritygate.service.database import writing
from paritygate.service.events import forget
from paritygate.service.folders import LOCAL, Folders, Pin, sync, write
from paritygate.service.leases import forget_workers
from paritygate.service.problems import Refused
from paritygate.service.reading import is_plain
from paritygate.service.summaries import RunSummary
from paritygate.service.tasks import drop_ended
from paritygate.service.tokens import Caller
from paritygate.store.baseline import audit_of, read_audit, read_baseline

if TYPE_CHECKING:
    from paritygate.service.app import Service

DAY_S = 86_400.0
_REASON = 1_000  # characters


@dataclass(frozen=True)
class Pruned:
    """A run that was removed, or would be."""

    project: str
    run: str
    bytes: int


def pin(service: "Service", caller: Caller, project: str, run: str, reason: str) -> RunSummary:
    """Keeps a run from being pruned; one that is pinned gets the new reason."""
    if not reason.strip() or not is_plain(reason, _REASON):
        raise Refused("a pin needs a reason", where=f"{project}/{run}", expected=f"up to {_REASON} characters")
    return _pin(service, caller, project, run, Pin(caller.name, time.time(), reason.strip()))


def unpin(service: "Service", caller: Caller, project: str, run: str) -> RunSummary:
    """Lets a run be pruned again."""
    return _pin(service, caller, project, run, None)


def _pin(service: "Service", caller: Caller, project: str, run: str, pin: Pin | None) -> RunSummary:
    if project == LOCAL:
        raise Refused("local runs are never pruned", where=f"{project}/{run}", expected="a run that was uploaded")
    folders, name = Folders(service.config), queries.run(service, project, run).name
    with folders.locked(project):
        path = folders.run(project, name) / "pin.json"
        with writing(service.engine).begin() as connection:
            of_run = tables.run.c
            where = (of_run.project_id == queries.project_id(service, connection, project), of_run.name == name)
            connection.execute(update(tables.run).where(*where).values(pinned=int(pin is not None)))
            if pin is None:
                audit.note(connection, caller.name, "unpin", project, name)
                path.unlink(missing_ok=True)
                sync(path.parent)
            else:
                audit.note(connection, caller.name, "pin", project, name, reason=pin.reason)
                write(path, pin)
    return queries.run(service, project, name)


def prune(
    service: "Service", by: str, keep_days: float, keep_last: int = 1, act: Literal["remove", "dry run"] = "remove"
) -> Iterator[Pruned]:
    """Removes runs that arrived more than so many days ago, and tells of each as it goes; then what tasks left that
    have ended, workers that were not heard of since, and old events.

    Kept are those that are pinned, that a baseline has a line of, that something was ever accepted of, and the last
    ones of each branch, one at least. Raises UsageError where a baseline cannot be read, before any run of its
    project goes.
    """
    folders = Folders(service.config)
    for project in (name for name in folders.projects() if name != LOCAL):
        with folders.locked(project):
            for name in _old(service, folders, project, time.time() - keep_days * DAY_S, max(keep_last, 1)):
                folder = folders.runs(project) / name
                pruned = Pruned(project, name, _bytes(folder))
                if act == "remove":
                    _remove(service, folders, project, name, by, pruned.bytes)
                yield pruned
    if act == "remove":
        before = time.time() - keep_days * DAY_S
        drop_ended(service, before)
        with writing(service.engine).begin() as connection:
            forget_workers(connection, before)
            forget(connection, time.time() - service.config.limits.event_s)


def _old(service: "Service", folders: Folders, project: str, since: float, last: int) -> list[str]:
    """The runs of a project that nothing keeps, the oldest first."""
    baselines, run = folders.baselines(project), tables.run.c
    kept = {line.run for line in read_baseline(baselines).values()}
    kept |= {act.run for act in read_audit(audit_of(baselines))}
    with service.engine.connect() as connection:
        of_project = run.project_id == queries.project_id(service, connection, project)
        statement = select(run.name, run.branch, run.arrived).where(of_project)
        lines = connection.execute(statement.order_by(run.branch, run.number.desc())).all()
    for _, of_branch in groupby(lines, key=lambda line: line.branch):
        kept |= {line.name for line in list(of_branch)[:last]}
    old = sorted((line.arrived, line.name) for line in lines if line.arrived < since and line.name not in kept)
    return [name for _, name in old if not _is_pinned(folders, project, name)]


def _is_pinned(folders: Folders, project: str, name: str) -> bool:
    """By the folder, which is the truth; one that cannot be read was meant to be."""
    return (folders.runs(project) / name / "pin.json").exists()


def _remove(service: "Service", folders: Folders, project: str, name: str, by: str, size: int) -> None:
    """First the line, then the folder's name, then what is in it.

    After a kill behind the first the run is there again, whole, at the next start; behind the second nobody finds it
    any more, and the next start removes the rest. There is never a line of a run that is not whole.
    """
    with writing(service.engine).begin() as connection:
        id = queries.project_id(service, connection, project)
        connection.execute(delete(tables.run).where(tables.run.c.project_id == id, tables.run.c.name == name))
        audit.note(connection, by, "prune", project, name, bytes=size)
    removed = folders.removed(project)
    removed.mkdir(exist_ok=True)
    folder, gone = folders.runs(project) / name, removed / name
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    sync(folder.parent)
    shutil.rmtree(gone)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
