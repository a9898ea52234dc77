"""Jobs of a service, as whoever asks for them sees them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from paritygate.client.transport import Transport, path_of


class Jobs:
    """The jobs of a project."""

    def __init__(self, transport: Transport, project: str):
        self._transport, self._project = transport, project

    def request(
        self,
        suite: str,
        cells: str,
        revision: str,
        cases: Sequence[str] = (),
        mode: str = "all",
        branch: str = "",
        labels: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Asks for a replay; `revision` is a commit, as a worker has it."""
        asked = {"suite": suite, "cells": cells, "revision": revision, "cases": list(cases), "mode": mode}
        return self._transport.post(self._path(), {**asked, "branch": branch, "labels": list(labels)})

    def latest(self, limit: int = 100) -> list[dict[str, Any]]:
        return self._transport.get(self._path(), {"limit": limit})["items"]

    def show(self, number: int) -> dict[str, Any]:
        return self._transport.get(self._path(str(number)))

    def cancel(self, number: int) -> dict[str, Any]:
        return self._transport.delete(self._path(str(number)))

    def events(self, number: int, after: int = 0) -> Iterator[dict[str, Any]]:
        """What happens to a job, from its beginning on, as it happens, until it has ended."""
        for each in self._transport.events(self._path(str(number), "events"), after):
            if each.event != "message":
                yield {"id": int(each.id), **json.loads(each.data)}

    def _path(self, *parts: str) -> str:
        return path_of("projects", self._project, "jobs", *parts)
