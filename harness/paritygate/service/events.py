"""What happens, in the order in which it can be read: jobs, tasks, runs, approvals. Written with the change itself."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, delete, func, select, text

from paritygate.service.tables import event

if TYPE_CHECKING:
    from paritygate.service.app import Service

Kind = Literal[
    "job requested",
    "job cancelled",
    "task leased",
    "task progress",
    "task begun anew",
    "lease given back",
    "lease lost",
    "task done",
    "task failed",
    "run arrived",
    "run approved",
]
_LOCK = 0x70617269  # of PostgreSQL's advisory locks, ours: whoever writes events


@dataclass(frozen=True)
class Event:
    """One thing that happened. `id` grows: who has read up to one asks for what is behind it."""

    id: int
    at: float
    kind: str
    job: int | None
    data: Mapping[str, Any]


def tell(connection: Connection, kind: Kind, project: str, job: int | None = None, **data: Any) -> None:
    """In the transaction of what happened, as its last statement.

    Writers go one after another until they commit, else one with a smaller id could be seen after one with a larger,
    and a reader that asks for what is behind its last would never get it. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(event.insert().values(at=time.time(), project=project, job_id=job, kind=kind, data=data))


def since(service: "Service", project: str, after: int, job: int | None = None, limit: int = 100) -> list[Event]:
    """What happened in a project, or of one of its jobs, behind an event."""
    asked = select(event).where(event.c.project == project, event.c.id > after).order_by(event.c.id).limit(limit)
    if job is not None:
        asked = asked.where(event.c.job_id == job)
    with service.engine.connect() as connection:
        return [
            Event(found["id"], found["at"], found["kind"], found["job_id"], found["data"])
            for found in connection.execute(asked).mappings()
        ]


def last(service: "Service", project: str) -> int:
    """The id of the latest event of a project; 0 where there is none."""
    with service.engine.connect() as connection:
        found = connection.execute(select(func.max(event.c.id)).where(event.c.project == project)).scalar()
    return found or 0


def forget(connection: Connection, before: float) -> int:
    """Drops what is older, and returns how much that was. The latest stays, or SQLite would number on from below it."""
    newest = connection.execute(select(func.max(event.c.id))).scalar() or 0
    return connection.execute(delete(event).where(event.c.at < before, event.c.id < newest)).rowcount
