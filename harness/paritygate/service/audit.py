"""Every change that the service makes, by whom. Only ever added to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select

from paritygate.service.tables import audit


@dataclass(frozen=True)
class Noted:
    """One change: when, who, what, in which project and to what, and whatever else there is to say."""

    at: float
    who: str
    action: str
    project: str
    target: str
    detail: Mapping[str, Any]


def note(connection: Connection, who: str, action: str, project: str = "", target: str = "", **detail: Any) -> None:
    """In the transaction of the change itself, so that there is neither without the other."""
    values: Mapping[str, Any] = {"who": who, "action": action, "project": project, "target": target, "detail": detail}
    connection.execute(audit.insert().values(at=time.time(), **values))


def noted(
    engine: Engine, project: str = "", who: str = "", action: str = "", limit: int = 100, after: int | None = None
) -> tuple[list[Noted], int | None]:
    """The newest first, from behind `after`, and what `after` is next; None where there is no more."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit + 1)
    for column, wanted in ((audit.c.project, project), (audit.c.who, who), (audit.c.action, action)):
        if wanted:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(audit.c.id < after)
    with engine.connect() as connection:
        found = connection.execute(query).all()
    items = [Noted(each.at, each.who, each.action, each.project, each.target, each.detail) for each in found[:limit]]
    return items, found[limit - 1].id if len(found) > limit else None
