"""Requests for a replay: what may be asked for, by names of the catalog only; their list; taking one back.

A job is split into tasks, one a platform of its cells, each of which gives one run. `leases.py` is what workers do.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, func, select, update

from paritygate.catalog.full import FULL
from paritygate.catalog.select import select_cells, suites
from paritygate.core.cell import Mode
from paritygate.core.errors import unknown_name
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.events import forget, tell
from paritygate.service.folders import LOCAL
from paritygate.service.problems import Conflict, NotFound, Refused, TooMany
from paritygate.service.summaries import Page, Paged
from paritygate.service.tables import job, project, task, token, worker
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service

MODES = (*map(str, Mode), "both", "all")
LABEL = r"[a-z0-9][a-z0-9._-]{0,31}"
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"  # of a suite or a case that this service's catalog does not have
REVISION = r"[0-9a-f]{40}(-dirty)?"  # of git, whole; as a worker announces it
OPEN = ("queued", "leased")
_SEEN_S = 24 * 3600.0  # for which a worker counts as known


@dataclass(frozen=True)
class Asked:
    """What a request names. `cells` is an expression; no `cases` are all of the suite; `labels` a worker must have
    beside that of the platform."""

    suite: str
    cells: str
    cases: tuple[str, ...] = ()
    mode: str = "all"
    revision: str = ""
    branch: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSummary:
    """What one worker does of a job. `reason` is why it failed, or was begun anew; `progress` what was last said."""

    number: int
    cells: tuple[str, ...]
    labels: tuple[str, ...]
    state: str  # queued, leased, done, failed, cancelled
    attempt: int
    worker: str
    until: float | None
    run: str
    exit_code: int | None
    reason: str
    progress: Mapping[str, Any]


@dataclass(frozen=True)
class JobSummary:
    """A request, and what came of it. `state` is `running` from the first lease on; `failed` where any task is."""

    number: int
    suite: str
    cases: tuple[str, ...]
    cells: tuple[str, ...]
    mode: str
    revision: str
    branch: str
    requested_by: str
    created: float
    state: str  # queued, running, done, failed, cancelled
    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True)
class WorkerSummary:
    """A worker that asked for work in the last day: what it may take."""

    name: str
    labels: tuple[str, ...]
    revisions: Mapping[str, tuple[str, ...]]  # revision → suites of its catalog
    versions: Mapping[str, str]
    seen: float


def request(service: "Service", caller: Caller, project_name: str, asked: Asked) -> JobSummary:
    """Raises Refused where a name is none of the catalog's, TooMany where too many jobs wait."""
    if project_name == LOCAL:
        raise Refused("this project takes no jobs", where=LOCAL, expected="a project with runs of its own")
    limits = service.config.limits
    tasks, now = _split(service, project_name, asked), time.time()
    with writing(service.engine).begin() as connection:
        project_id = _project_id(connection, project_name)
        if _open_jobs(connection, project_id) >= limits.queued_jobs:
            raise TooMany("too many jobs wait", where=project_name, expected=f"at most {limits.queued_jobs:,}")
        named: dict[str, Any] = {name: getattr(asked, name) for name in ("suite", "mode", "revision", "branch")}
        cells = [cell for of_platform, _ in tasks for cell in of_platform]
        named |= {"project_id": project_id, "cases": list(asked.cases), "cells": cells}
        new = job.insert().values(requested_by=caller.name, created=now, **named).returning(job.c.id)
        number = connection.execute(new).scalar_one()
        for of_platform, labels in tasks:
            connection.execute(task.insert().values(job_id=number, cells=of_platform, labels=labels, **_QUEUED))
        note(connection, caller.name, "job requested", project_name, str(number), suite=asked.suite, cells=cells)
        forget(connection, now - limits.event_s)
        tell(connection, "job requested", project_name, number, by=caller.name, suite=asked.suite, tasks=len(tasks))
    return show(service, project_name, number)


_QUEUED: Mapping[str, Any] = {
    "state": "queued", "attempt": 0, "worker": "", "lease": "", "run": "", "reason": "", "progress": {}
}  # fmt: skip


def _split(service: "Service", project_name: str, asked: Asked) -> list[tuple[list[str], list[str]]]:
    """The cells of each task and the labels that its worker must have, once every name was looked at.

    A suite that this service's catalog does not have, one of a team's own families, is known if a worker has it; its
    cases are then checked by what a name may be, and by the worker's catalog when it replays them.
    """
    limits = service.config.limits
    if len(asked.cases) > limits.job_cases:
        raise Refused("too many cases", got=str(len(asked.cases)), expected=f"at most {limits.job_cases}")
    if asked.mode not in MODES:
        raise unknown_name("mode", asked.mode, list(MODES))
    for noun, pattern, names in (
        ("suite", NAME, [asked.suite]),
        ("case", NAME, asked.cases),
        ("revision", REVISION, [asked.revision]),
        ("label", LABEL, asked.labels),
    ):
        for name in names:
            if not re.fullmatch(pattern, name, re.ASCII):
                raise Refused(f"bad {noun}", where=ascii(name[:80]), expected=_MEANT.get(noun, "a name of the catalog"))
    if not asked.branch.isprintable():
        raise Refused("bad branch", where=ascii(asked.branch[:80]), expected="printable text")
    if asked.suite == FULL:
        raise Refused("nothing of this suite is replayed", where=FULL, try_=f"paritygate run {FULL}, on any machine")
    if asked.suite in (known := suites()):
        for case in asked.cases:
            if case not in (ids := [each.id for each in known[asked.suite]]):
                raise unknown_name("case", case, ids)
    elif asked.suite not in (announced := _announced(service, project_name)):
        raise unknown_name("suite", asked.suite, [*known, *announced])
    cells = select_cells(asked.cells)
    if len(cells) > limits.job_cells:
        raise Refused("too many cells", got=str(len(cells)), expected=f"at most {limits.job_cells}")
    if compiled := next((cell for cell in cells if cell.is_compiled), None):
        raise Refused("nothing runs on devices that are not there", where=str(compiled), expected="cpu, gpu or tpu")
    by_platform = groupby(sorted(cells, key=lambda cell: cell.platform), key=lambda cell: cell.platform)
    return [(list(map(str, some)), sorted({platform, *asked.labels})) for platform, some in by_platform]


_MEANT = {
    "revision": "the 40 hexadecimal digits of a commit, as a worker announces it",
    "label": "lower case, such as h100, v5p, big-memory",
}


def _announced(service: "Service", project_name: str) -> list[str]:
    """Suites that workers have in their catalogs who may take work of the project."""
    with service.engine.connect() as connection:
        found = connection.execute(_workers_of(project_name, worker.c.revisions)).scalars()
        return sorted({suite for revisions in found for names in revisions.values() for suite in names})


def _project_id(connection: Connection, name: str) -> int:
    found = connection.execute(select(project.c.id).where(project.c.name == name)).scalar()
    if found is None:
        raise NotFound("no such project", where=name)
    return found


def require_project(service: "Service", name: str) -> None:
    """Raises NotFound."""
    with service.engine.connect() as connection:
        _project_id(connection, name)


def _open_jobs(connection: Connection, project_id: int) -> int:
    asked = select(func.count(func.distinct(job.c.id))).join(task, task.c.job_id == job.c.id)
    return connection.execute(asked.where(job.c.project_id == project_id, task.c.state.in_(OPEN))).scalar() or 0


def show(service: "Service", project_name: str, number: int) -> JobSummary:
    """Raises NotFound where the project has no such job."""
    with service.engine.connect() as connection:
        project_id = _project_id(connection, project_name)
        asked = select(job).where(job.c.id == number, job.c.project_id == project_id)
        found = connection.execute(asked).mappings().first()
        if found is None:
            raise NotFound("no such job", where=str(number))
        return _summaries(connection, [found])[0]


def jobs(service: "Service", project_name: str, page: Page) -> Paged[JobSummary]:
    """The latest first; the cursor is the number of the last one that was seen."""
    limit = min(page.limit, service.config.limits.page_rows)
    if page.after and not re.fullmatch(r"[0-9]{1,18}", page.after, re.ASCII):
        raise Refused("bad cursor", where=ascii(page.after[:80]), expected="`next` of an earlier answer")
    with service.engine.connect() as connection:
        asked = select(job).where(job.c.project_id == _project_id(connection, project_name))
        if page.after:
            asked = asked.where(job.c.id < int(page.after))
        found = connection.execute(asked.order_by(job.c.id.desc()).limit(limit + 1)).mappings().all()
        made = tuple(_summaries(connection, found[:limit]))
    return Paged(made, str(made[-1].number) if len(found) > limit else "")


def _summaries(connection: Connection, found: Sequence[RowMapping]) -> list[JobSummary]:
    of_job: dict[int, list[TaskSummary]] = {each["id"]: [] for each in found}
    asked = select(task).where(task.c.job_id.in_(list(of_job))).order_by(task.c.id)
    for each in connection.execute(asked).mappings():
        held = each["state"] == "leased"
        of_job[each["job_id"]].append(
            TaskSummary(
                each["id"], tuple(each["cells"]), tuple(each["labels"]), each["state"], each["attempt"], each["worker"],
                each["until"] if held else None, each["run"] if each["state"] == "done" else "", each["exit_code"],
                each["reason"], {name: value for name, value in each["progress"].items() if name != "told"},
            )
        )  # fmt: skip
    return [
        JobSummary(
            each["id"], each["suite"], tuple(each["cases"]), tuple(each["cells"]), each["mode"], each["revision"],
            each["branch"], each["requested_by"], each["created"],
            _state("cancelled" if each["cancelled"] else "", [one.state for one in of_job[each["id"]]]),
            tuple(of_job[each["id"]]),
        )
        for each in found
    ]  # fmt: skip


def _state(state: str, tasks: Sequence[str]) -> str:
    if state:
        return state
    if not set(tasks) & set(OPEN):
        return "failed" if "failed" in tasks else "done"
    return "queued" if set(tasks) == {"queued"} else "running"


def cancel(service: "Service", caller: Caller, project_name: str, number: int) -> JobSummary:
    """Nothing of it begins any more; who is at it is told at the next heartbeat. Raises Conflict where it has ended."""
    with writing(service.engine).begin() as connection:
        project_id = _project_id(connection, project_name)
        if not connection.execute(select(job.c.id).where(job.c.id == number, job.c.project_id == project_id)).first():
            raise NotFound("no such job", where=str(number))
        stopped = connection.execute(
            update(task).where(task.c.job_id == number, task.c.state.in_(OPEN)).values(state="cancelled", until=None)
        )
        if not stopped.rowcount:
            raise Conflict("job has ended", where=str(number), expected="one that is queued or running")
        connection.execute(update(job).where(job.c.id == number).values(cancelled=time.time()))
        note(connection, caller.name, "job cancelled", project_name, str(number))
        tell(connection, "job cancelled", project_name, number, by=caller.name)
    return show(service, project_name, number)


def has_ended(service: "Service", number: int) -> bool:
    """Whether nothing of a job is to come."""
    asked = select(task.c.id).where(task.c.job_id == number, task.c.state.in_(OPEN)).limit(1)
    with service.engine.connect() as connection:
        return connection.execute(asked).first() is None


def _workers_of(project_name: str, *columns: Any) -> Any:
    """Heard of in the last day, and not of a token of another project."""
    bound = select(token.c.name).where(token.c.project.not_in(("", project_name)))
    return select(*columns).where(worker.c.seen > time.time() - _SEEN_S, worker.c.token.not_in(bound))


def workers(service: "Service", project_name: str) -> list[WorkerSummary]:
    """Who asked for work in the last day, and may take that of a project."""
    with service.engine.connect() as connection:
        _project_id(connection, project_name)
        found = connection.execute(_workers_of(project_name, worker).order_by(worker.c.name)).mappings()
        return [
            WorkerSummary(
                each["name"], tuple(each["labels"]), {rev: tuple(names) for rev, names in each["revisions"].items()},
                each["versions"], each["seen"],
            )
            for each in found
        ]  # fmt: skip
