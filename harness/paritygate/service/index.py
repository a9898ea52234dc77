"""Run folders → the index: one that arrives, those that were missed, all of them again.

The folders are the truth. Reads them, moves one in that is whole, writes its `upload.json`; of the database it writes
`project`, `run`, `place` and `row`, and a line of `audit` for a run that arrived.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, case, delete, func, select, update

from paritygate.core.errors import HarnessError, UsageError
from paritygate.service import local
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.events import tell
from paritygate.service.folders import LOCAL, Arrival, Folders, arrival_of, pin_of, run_name, sync, write
from paritygate.service.lines import project_line, put_run, put_unreadable
from paritygate.service.problems import Conflict, Forbidden, Refused
from paritygate.service.reading import Known, is_plain, read_run, readable_or_why
from paritygate.service.summaries import UNREADABLE, ProjectSummary, RunSummary
from paritygate.service.tables import INDEX_TABLES, project, run
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service

LOG = logging.getLogger(__name__)


def create_project(service: "Service", name: str, caller: Caller) -> ProjectSummary:
    """A new project, empty. Raises Refused on a bad name, Conflict where there is one of that name, Forbidden to a
    token of one project."""
    if caller.project:
        raise Forbidden("not allowed", where=name, expected="a token of all projects", got=caller.name)
    folders = Folders(service.config)
    folders.create(name)
    created = folders.info(name).created
    with writing(service.engine).begin() as connection:
        project_line(connection, name, created)
        note(connection, caller.name, "create project", name, name)
    return ProjectSummary(name, created, 0, "", "", None)


def add_run(service: "Service", project: str, folder: Path, arrival: Arrival) -> RunSummary:
    """Moves a whole, checked folder into the project's runs and indexes it; `arrival.number` is given here.

    A run that is there with equal content is left as it is, and `folder` goes. Raises Conflict where the run there has
    other content, UsageError or TooLarge where the folder is no run that can be read.
    """
    folders = Folders(service.config)
    _refuse_odd(arrival)
    known = read_run(folder, service.config.limits.run_rows)  # before anybody has to wait
    name = run_name(known.info.id)
    target = folders.runs(project) / name
    with folders.locked(project):
        if target.exists():
            there = arrival_of(target)
            if there.content != arrival.content:
                raise Conflict("there is a run of that name with other content", where=f"{project}/{name}")
            shutil.rmtree(folder)
            arrival = there
        with writing(service.engine).begin() as connection:
            project_id = project_line(connection, project, folders.info(project).created)
            if folder.exists():
                arrival = replace(arrival, number=_next_number(connection, project_id, folders.runs(project)))
                write(folder / "upload.json", arrival)
                sync(folder)
                os.rename(folder, target)
                sync(target.parent)
                note(connection, arrival.by, "run arrived", project, name, number=arrival.number, branch=arrival.branch)
            pinned = pin_of(target) is not None
            summary = put_run(connection, project_id, name, known, arrival, pinned, arrival.content)
            tell(connection, "run arrived", project, run=name, verdict=summary.verdict, by=arrival.by)
            return summary


def _refuse_odd(arrival: Arrival) -> None:
    """What a column would not take, before anything is moved."""
    most = {"branch": 256, "commit": 64, "pull_request": 32, "by": 128}
    if bad := [name for name, length in most.items() if not is_plain(getattr(arrival, name), length)]:
        raise Refused("too long, or no text", where=", ".join(bad), expected=f"at most {most[bad[0]]} characters")


def _next_number(connection: Connection, project_id: int, runs: Path) -> int:
    """The next one that no run has, a folder without a line included: a kill may have left one."""
    lines = connection.execute(select(run.c.name, run.c.number).where(run.c.project_id == project_id)).all()
    named = {line.name for line in lines}
    numbers = [line.number for line in lines]
    for path in runs.iterdir():
        if path.name not in named:
            try:
                numbers.append(arrival_of(path).number)
            except HarnessError:
                continue  # then it has none, and never gets a line
    return max(numbers, default=0) + 1


def catch_up(service: "Service") -> int:
    """Makes the index say what the folders do, and returns how many of its lines changed. Cheap where none do.

    A folder without a line gets one, also one that cannot be read, which is listed as such and looked at again the
    next time; a line without a folder goes. Each is said in the log.
    """
    folders, changed = Folders(service.config), 0
    known = _known(service)
    for name in (name for name in folders.projects() if name != LOCAL):
        with folders.locked(name):
            changed += _catch_up(service, folders, name)
    for name in known - set(folders.projects()):
        changed += _forget_runs(service, name)
    return changed + local.scan(service)


def _known(service: "Service") -> set[str]:
    """The projects of the database. Raises UsageError where the folder is surely not theirs, or all of their runs
    would go from the index because of a folder that is mistyped."""
    with service.engine.connect() as connection:
        known = set(connection.execute(select(project.c.name)).scalars())
    if known - {LOCAL} and not (service.config.data / "projects").is_dir():
        raise UsageError(
            "folder is not that of this database",
            where=str(service.config.data),
            expected=f"projects/{min(known - {LOCAL})} in it",
            try_="--data DIR, as `paritygate serve` had it",
        )
    return known


def _catch_up(service: "Service", folders: Folders, name: str) -> int:
    with writing(service.engine).begin() as connection:
        project_id = project_line(connection, name, folders.info(name).created)
        lines = {each.name: each for each in connection.execute(select(run).where(run.c.project_id == project_id))}
    folders.runs(name).mkdir(exist_ok=True)  # few backups keep a folder that is empty
    there = {path.name: path for path in folders.runs(name).iterdir() if (path / "upload.json").is_file()}
    for gone in sorted(lines.keys() - there.keys()):
        LOG.warning("run %s/%s: its folder is gone, and so is its line now", name, gone)
    changed = _remove(service, project_id, lines.keys() - there.keys())
    for run_folder in sorted(there):
        path, line = there[run_folder], lines.get(run_folder)
        pinned = (path / "pin.json").is_file()
        if line is None or line.verdict == UNREADABLE:
            changed += _index(service, project_id, name, path, pinned)
        elif bool(line.pinned) != pinned:
            with writing(service.engine).begin() as connection:
                connection.execute(update(run).where(run.c.id == line.id).values(pinned=int(pinned)))
            changed += 1
    shutil.rmtree(folders.removed(name), ignore_errors=True)  # what was being removed when a server was killed
    return changed


def take_in(service: "Service", project: str, name: str) -> None:
    """Gives a run that is in its project's folder its line, where it has none."""
    folders = Folders(service.config)
    with folders.locked(project):
        with writing(service.engine).begin() as connection:
            project_id = project_line(connection, project, folders.info(project).created)
            found = connection.execute(select(run.c.id).where(run.c.project_id == project_id, run.c.name == name))
            if found.first():
                return
        folder = folders.run(project, name)
        _index(service, project_id, project, folder, (folder / "pin.json").is_file())


def _index(service: "Service", project_id: int, project: str, folder: Path, pinned: bool) -> int:
    """One folder that has no line, or none that says what is in it."""
    try:
        arrival = arrival_of(folder)
    except HarnessError as reason:
        LOG.warning("folder %s/%s is no run that was uploaded: %s", project, ascii(folder.name), reason)
        return 0
    found = readable_or_why(folder, service.config.limits.run_rows)
    with writing(service.engine).begin() as connection:
        other = select(run.c.name).where(run.c.project_id == project_id, run.c.number == arrival.number)
        if taken := connection.execute(other.where(run.c.name != folder.name)).scalar():
            LOG.warning("run %s/%s had the number of %s: somebody copied it here", project, folder.name, taken)
            arrival = replace(arrival, number=_next_number(connection, project_id, folder.parent))
            write(folder / "upload.json", arrival)
        if isinstance(found, Known):
            LOG.info("run %s/%s: indexed", project, folder.name)
            put_run(connection, project_id, folder.name, found, arrival, pinned, arrival.content)
        else:
            LOG.warning("run %s/%s cannot be read: %s", project, folder.name, found)
            put_unreadable(connection, project_id, folder.name, arrival, pinned)
    return 1


def _forget_runs(service: "Service", name: str) -> int:
    """Of a project without a folder; its line stays, for its jobs hang on it."""
    with service.engine.connect() as connection:
        project_id = connection.execute(select(project.c.id).where(project.c.name == name)).scalar_one()
        names = set(connection.execute(select(run.c.name).where(run.c.project_id == project_id)).scalars())
    if names and name != LOCAL:
        LOG.warning("project %s: its folder is gone, and so are its runs' lines now", name)
    return _remove(service, project_id, names)


def _remove(service: "Service", project_id: int, names: Iterable[str]) -> int:
    count = 0
    for name in sorted(names):
        with writing(service.engine).begin() as connection:
            count += connection.execute(delete(run).where(run.c.project_id == project_id, run.c.name == name)).rowcount
    return count


def rebuild(service: "Service", tell: Callable[[str], None] = LOG.info) -> int:
    """Empties the index and reads all folders again; returns how many runs it has then.

    Not in one transaction, which would keep everybody else from writing for as long as it takes: one a run. What is
    asked meanwhile is answered by what is there so far, and after a kill the next start goes on.
    """
    folders = Folders(service.config)
    _known(service)
    projects = [name for name in folders.projects() if name != LOCAL]
    with ExitStack() as held:
        for name in projects:  # or a run that arrives meanwhile would have rows of places that are gone
            held.enter_context(folders.locked(name))
        with writing(service.engine).begin() as connection:
            for table in INDEX_TABLES:
                connection.execute(delete(table))
            for name in projects:
                created = folders.info(name).created
                project_id = project_line(connection, name, created)
                connection.execute(update(project).where(project.c.id == project_id).values(created=created))
    tell("the index is empty; reading all run folders")
    catch_up(service)
    found = counts(service)
    for name, (total, unreadable) in found.items():
        unread = f", {unreadable:,} cannot be read" if unreadable else ""
        tell(f"{name}: {total:,} run{'s' * (total != 1)}{unread}")
    return sum(total for total, _ in found.values())


def counts(service: "Service") -> dict[str, tuple[int, int]]:
    """By project: how many runs it has, and of these how many cannot be read."""
    unreadable = func.sum(case((run.c.verdict == UNREADABLE, 1), else_=0))
    joined = project.join(run, run.c.project_id == project.c.id)
    statement = select(project.c.name, func.count(), unreadable).select_from(joined).group_by(project.c.name)
    with service.engine.connect() as connection:
        return {line[0]: (line[1], line[2]) for line in connection.execute(statement.order_by(project.c.name))}
