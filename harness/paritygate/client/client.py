"""`Client(url, token)`: a service's projects, runs, rows and gate in Python.

with Client("https://parity.example.com", token) as service:
    frame = service.rows("llama4", "latest:main", verdict="over_budget")
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from paritygate.client.transport import Transport, path_of
from paritygate.client.uploading import upload_run
from paritygate.core.trust import Trust

if TYPE_CHECKING:
    import pandas

_PAGE = 1_000


class Client:
    """One service, as one token. Its errors are HarnessErrors, and none has the token in it."""

    def __init__(self, service: str | Transport, token: str = "", trust: Trust = "https"):
        """`service` is its URL; or a transport that is there, which says the rest."""
        self._transport = Transport(service, token, trust) if isinstance(service, str) else service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return self._transport.url

    def __repr__(self) -> str:
        return f"Client({self._transport.url!r})"

    def close(self) -> None:
        self._transport.close()

    def projects(self) -> list[dict[str, Any]]:
        return list(self._all(path_of("projects"), {}))

    def create_project(self, name: str) -> dict[str, Any]:
        """A new one, empty; with the scope `admin`."""
        return self._transport.post(path_of("projects"), {"name": name})

    def runs(self, project: str, **filters: str) -> Iterator[dict[str, Any]]:
        """The newest first; by `branch`, `commit`, `platform`, `verdict`, `suite`, `pull_request`."""
        return self._all(path_of("projects", project, "runs"), filters)

    def run(self, project: str, run: str = "latest") -> dict[str, Any]:
        """One run, by its name, `latest`, or `latest:BRANCH`."""
        return self._transport.get(path_of("projects", project, "runs", _named(run)))

    def rows(self, project: str, run: str = "latest", **filters: str) -> "pandas.DataFrame":
        """One line a row; by `verdict`, `case`, `cell`, `mode`, `address`, the last as a glob."""
        import pandas

        if run.partition(":")[0] == "latest":
            run = self.run(project, run)["name"]  # or the next page could be another's
        return pandas.DataFrame.from_records(
            list(self._all(path_of("projects", project, "runs", _named(run), "rows"), filters))
        )

    def history(self, project: str, case: str, cell: str, mode: str, address: str, **more: str) -> dict[str, Any]:
        """One row across the runs of a project, or of one `branch`; with the steps at which it moved."""
        place = {"case": case, "cell": cell, "mode": mode, "address": address}
        return self._transport.get(path_of("projects", project, "history"), {**place, **more})

    def gate(self, project: str, run: str = "latest", against: str = "baseline") -> dict[str, Any]:
        """What the gate says of a run: against the baseline, `branch:NAME`, or another run."""
        return self._transport.get(path_of("projects", project, "runs", _named(run), "gate"), {"against": against})

    def approve(
        self,
        project: str,
        run: str,
        select: str,
        reason: str,
        semantic: Literal["refused", "accepted"] = "refused",
        act: Literal["show", "write"] = "show",
    ) -> dict[str, Any]:
        """What would be accepted; with `write` it is."""
        asked = {"select": select, "reason": reason, "semantic": semantic, "dry_run": act == "show"}
        return self._transport.post(path_of("projects", project, "runs", _named(run), "approve"), asked)

    def upload(
        self,
        project: str,
        folder: Path,
        branch: str = "",
        commit: str = "",
        pull_request: str = "",
        tell: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Any]:
        """A run folder, whole, as the service has it then. Gone on with where a connection broke."""
        about = {"branch": branch, "commit": commit, "pull_request": pull_request}
        return upload_run(self._transport, project, folder, about, tell)

    def _all(self, path: str, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
        after = ""
        while True:
            page = self._transport.get(path, {**filters, "limit": _PAGE, "after": after})
            yield from page["items"]
            if not (after := page["next"]):
                return


def _named(run: str) -> str:
    """`latest:feature/x` as a path has it: many a proxy takes an encoded `/` for one."""
    return run.replace("/", "~") if run.startswith("latest:") else run
