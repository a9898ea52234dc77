"""Every change that the service makes, by whom. Only ever added to."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from paritygate.service.tables import audit


def note(connection: Connection, who: str, action: str, project: str = "", target: str = "", **detail: Any) -> None:
    """In the transaction of the change itself, so that there is neither without the other."""
    values: Mapping[str, Any] = {"who": who, "action": action, "project": project, "target": target, "detail": detail}
    connection.execute(audit.insert().values(at=time.time(), **values))
