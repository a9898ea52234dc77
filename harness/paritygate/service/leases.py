"""Who works at which task, and until when: leases are given, kept by heartbeats, given back, and run out.

Whatever is written of a task is written by whoever holds its lease, in one transaction with the check of it: `held`
locks the task's line, so that no lease is given meanwhile. The clock is the service's.
"""

import hmac
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, RowMapping, Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from paritygate.core.project import Leased
from paritygate.service.audit import note
from paritygate.service.database import writing
from paritygate.service.events import Kind, tell
from paritygate.service.problems import Conflict, NotFound
from paritygate.service.tables import job, project, run, task, worker
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service

_TOLD_EVERY_S = 2.0  # at most, that a task progresses
_NAME_S = 3600.0  # for which a worker's name is its token's
_LOOKED_AT = 200  # tasks at a time


@dataclass(frozen=True)
class Offer:
    """What a worker can do: its labels, and of each revision of the candidate that it has the suites that it knows."""

    worker: str
    labels: tuple[str, ...]
    revisions: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Beat:
    """What a heartbeat is answered: go on for so many seconds more, or stop, for nobody wants it any more."""

    state: Literal["go on", "cancelled"]
    left_s: float


@dataclass(frozen=True)
class Held:
    """A task whose lease the caller has, as its line says."""

    task: int
    attempt: int
    state: str
    worker: str
    project: str
    project_id: int
    job: int
    suite: str
    cells: tuple[str, ...]
    branch: str
    revision: str
    run: str
    progress: Mapping[str, Any]


def lease(service: "Service", caller: Caller, offer: Offer) -> Leased | None:
    """The oldest task that the worker's labels allow, of a revision and a suite that it has; None without one."""
    _seen(service, caller, offer)
    sweep(service)
    asked = _queued(caller, offer)
    behind = 0
    while True:
        with service.engine.connect() as connection:
            found = connection.execute(asked.where(task.c.id > behind).limit(_LOOKED_AT)).mappings().all()
        for each in found:
            fits = set(each["labels"]) <= set(offer.labels) and each["suite"] in offer.revisions[each["revision"]]
            if fits and (given := _given(service, offer, each)):
                return given
        if len(found) < _LOOKED_AT:
            return None
        behind = found[-1]["id"]


def _queued(caller: Caller, offer: Offer) -> Select[*tuple[Any, ...]]:
    columns = (
        task.c.id, task.c.labels, task.c.attempt, task.c.cells, job.c.id.label("job"), job.c.suite, job.c.cases,
        job.c.mode, job.c.revision, project.c.name.label("project"),
    )  # fmt: skip
    joined = task.join(job, task.c.job_id == job.c.id).join(project, job.c.project_id == project.c.id)
    asked = select(*columns).select_from(joined).where(task.c.state == "queued").order_by(task.c.id)
    asked = asked.where(job.c.revision.in_(list(offer.revisions)))
    return asked.where(project.c.name == caller.project) if caller.project else asked


def _given(service: "Service", offer: Offer, each: RowMapping) -> Leased | None:
    """None where another was faster: of all who found the task queued, one changes its line."""
    key, attempt, now = secrets.token_hex(16), each["attempt"] + 1, time.time()
    with writing(service.engine).begin() as connection:
        changed = connection.execute(
            update(task)
            .where(task.c.id == each["id"], task.c.state == "queued", task.c.attempt == each["attempt"])
            .values(state="leased", attempt=attempt, worker=offer.worker, lease=key, until=now + service.config.lease_s)
        )
        if changed.rowcount != 1:
            return None
        where = {"task": each["id"], "worker": offer.worker, "attempt": attempt}
        tell(connection, "task leased", each["project"], each["job"], **where)
    return Leased(
        each["id"], key, service.config.lease_s, each["project"], each["job"], attempt, each["suite"],
        tuple(each["cases"]), tuple(each["cells"]), each["mode"], each["revision"],
    )  # fmt: skip


def _seen(service: "Service", caller: Caller, offer: Offer) -> None:
    """Notes the worker. Raises Conflict where one of another token goes by its name."""
    now = time.time()
    said: dict[str, Any] = {
        "labels": list(offer.labels), "revisions": {name: list(suites) for name, suites in offer.revisions.items()},
        "versions": dict(offer.versions), "token": caller.name, "seen": now,
    }  # fmt: skip
    ours = (worker.c.token == caller.name) | (worker.c.seen < now - _NAME_S)
    try:
        with writing(service.engine).begin() as connection:
            if not connection.execute(
                update(worker).where(worker.c.name == offer.worker, ours).values(**said)
            ).rowcount:
                connection.execute(worker.insert().values(name=offer.worker, **said))
    except IntegrityError:
        raise Conflict("a worker of another token has this name", where=offer.worker, try_="--name OTHER") from None


@contextmanager
def held(service: "Service", caller: Caller, number: int, key: str) -> Iterator[tuple[Connection, Held]]:
    """The task's line, locked, inside a transaction that writes.

    Raises NotFound where the caller may not see the task, Conflict where the lease is not, or no longer, the one that
    holds it.
    """
    with writing(service.engine).begin() as connection:
        found, until = line(connection, caller, number, key)
        require_holding(found, until)
        yield connection, found


def require_holding(found: Held, until: float | None) -> None:
    """Raises Conflict where the lease does not hold, or not any more."""
    if found.state != "leased" or until is None or until <= time.time():
        raise Conflict(
            "lease does not hold any more",
            where=f"task {found.task}",
            got=found.state if found.state != "leased" else "it ran out",
            try_="stop, and ask for work again",
        )


def line(connection: Connection, caller: Caller, number: int, key: str) -> tuple[Held, float | None]:
    """The task of a lease, whether it still holds or not, and until when; locked."""
    joined = task.join(job, task.c.job_id == job.c.id).join(project, job.c.project_id == project.c.id)
    columns = (
        task, job.c.project_id, job.c.suite, job.c.branch, job.c.revision, project.c.name.label("project")
    )  # fmt: skip
    asked = select(*columns).select_from(joined).where(task.c.id == number).with_for_update(of=task)
    each = connection.execute(asked).mappings().first()
    if each is None or caller.project not in ("", each["project"]):
        raise NotFound("no such task", where=str(number))
    if not each["lease"] or not hmac.compare_digest(each["lease"].encode(), key.encode()):
        raise Conflict("lease is not of this task, or ran out", where=f"task {number}", try_="ask for work again")
    found = Held(
        each["id"], each["attempt"], each["state"], each["worker"], each["project"], each["project_id"], each["job_id"],
        each["suite"], tuple(each["cells"]), each["branch"], each["revision"], each["run"], each["progress"],
    )  # fmt: skip
    return found, each["until"]


def heartbeat(service: "Service", caller: Caller, number: int, key: str, progress: Mapping[str, Any]) -> Beat:
    """Keeps the lease, and notes how far the task is. Raises as `held` does, but for a task that was cancelled."""
    now, length = time.time(), service.config.lease_s
    with writing(service.engine).begin() as connection:
        found, at = line(connection, caller, number, key)
        if found.state == "cancelled":
            return Beat("cancelled", 0.0)
        require_holding(found, at)
        told = found.progress.get("told", 0.0)
        is_told = bool(progress) and now - told >= _TOLD_EVERY_S and not _same(progress, found.progress)
        noted = {**(progress or found.progress), "told": now if is_told else told}
        until = func.greatest if connection.dialect.name == "postgresql" else func.max
        connection.execute(
            update(task)
            .where(task.c.id == number)
            .values(until=until(task.c.until, now + length), progress=noted)  # a long last step has a longer one
        )
        connection.execute(update(worker).where(worker.c.name == found.worker).values(seen=now))
        if is_told:
            tell(connection, "task progress", found.project, found.job, task=number, **progress)
    return Beat("go on", length)


def _same(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return dict(new) == {name: value for name, value in old.items() if name != "told"}


def give_back(service: "Service", caller: Caller, number: int, key: str) -> None:
    """Somebody else may go on at once. It does not count as an attempt."""
    with held(service, caller, number, key) as (connection, found):
        _queue(connection, found.task, attempt=found.attempt - 1)
        tell(connection, "lease given back", found.project, found.job, task=number, worker=found.worker)


def _queue(connection: Connection, number: int, attempt: int) -> None:
    values = {"state": "queued", "lease": "", "until": None, "attempt": attempt}
    connection.execute(update(task).where(task.c.id == number).values(**values))


def fail(service: "Service", caller: Caller, number: int, key: str, reason: str) -> None:
    """The task has no result: the reason says why. Nobody tries again."""
    with held(service, caller, number, key) as (connection, found):
        _end(connection, found.task, "failed", reason)
        note(connection, caller.name, "task failed", found.project, str(number), job=found.job, reason=reason[:256])
        tell(connection, "task failed", found.project, found.job, task=number, reason=reason)


def done(connection: Connection, by: str, found: Held, run_name: str, exit_code: int) -> None:
    """The task has given a run, which is in its project."""
    _end(connection, found.task, "done", "", run=run_name, exit_code=exit_code)
    note(connection, by, "task done", found.project, str(found.task), job=found.job, run=run_name)
    tell(connection, "task done", found.project, found.job, task=found.task, run=run_name, exit_code=exit_code)


def _end(connection: Connection, number: int, state: str, reason: str, **more: Any) -> None:
    """The lease stays in its line: whoever lost the answer may ask again."""
    values = {"state": state, "until": None, **more} | ({"reason": reason} if reason else {})
    connection.execute(update(task).where(task.c.id == number).values(**values))


def sweep(service: "Service") -> None:
    """Leases that ran out: the task is queued again; done, where only that was left to note; failed after too many."""
    with service.engine.connect() as connection:
        asked = select(task.c.id).where(task.c.state == "leased", task.c.until <= time.time())
        numbers = connection.execute(asked).scalars().all()
    for number in numbers:
        with writing(service.engine).begin() as connection:
            _ran_out(service, connection, number)


def _ran_out(service: "Service", connection: Connection, number: int) -> None:
    joined = task.join(job, task.c.job_id == job.c.id).join(project, job.c.project_id == project.c.id)
    columns = (task, job.c.project_id, project.c.name.label("project"))
    asked = select(*columns).select_from(joined).where(task.c.id == number, task.c.state == "leased")
    each = connection.execute(asked.where(task.c.until <= time.time()).with_for_update(of=task)).mappings().first()
    if each is None:
        return  # another server was faster, or the worker came back
    kind: Kind = "lease lost"
    where, more = {"task": number, "worker": each["worker"]}, dict[str, Any]()
    arrived = select(run.c.id).where(run.c.project_id == each["project_id"], run.c.name == each["run"])
    if each["run"] and connection.execute(arrived).first():
        _end(connection, number, "done", "")
        kind, more = "task done", {"run": each["run"], "exit_code": each["exit_code"]}
    elif each["attempt"] >= service.config.limits.attempts:
        reason = f"its lease ran out {each['attempt']} times, the last time with worker {each['worker']}"
        _end(connection, number, "failed", reason)
        kind, more = "task failed", {"reason": reason}
    else:
        _queue(connection, number, each["attempt"])
    tell(connection, kind, each["project"], each["job_id"], **where, **more)


def forget_workers(connection: Connection, before: float) -> int:
    """Drops those that were last heard of before, and hold no task; how many. A name is its token's for an hour."""
    holding = select(task.c.worker).where(task.c.state == "leased")
    gone = (worker.c.seen < min(before, time.time() - _NAME_S)) & worker.c.name.not_in(holding)
    return connection.execute(delete(worker).where(gone)).rowcount
