"""A worker by hand, request by request, in the process of the tests; and a project that jobs are asked for in."""

import hashlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.service.conftest import bearer
from paritygate.core.run_files import GROWING, files_of
from paritygate.service.database import writing
from paritygate.service.folders import Folders
from paritygate.service.lines import project_line

REVISION = "0123456789abcdef0123456789abcdef01234567"
JOB = {"suite": "tiny", "cells": "f64,bf16 x single x cpu", "revision": REVISION}


def make_project(app: FastAPI, name: str) -> None:
    service = app.state.service
    folder = Folders(service.config).create(name)
    with writing(service.engine).begin() as connection:
        project_line(connection, name, folder.stat().st_mtime)


class ByHand:
    """One worker of a service, with a token of its own."""

    def __init__(self, app: FastAPI, client: TestClient, name: str = "gpu-1", project: str = ""):
        self.client, self.name = client, name
        self.headers = bearer(app, "work", name=f"token-of-{name}", project=project)
        self.task: dict[str, Any] = {}

    def lease(self, labels: str = "cpu", revision: str = REVISION, suites: str = "tiny") -> dict[str, Any] | None:
        said = {"worker": self.name, "labels": labels.split(), "revisions": {revision: suites.split()}}
        answer = self.client.post("/api/work/lease", json=said, headers=self.headers)
        assert answer.status_code in (200, 204), answer.text
        self.task = answer.json() if answer.status_code == 200 else {}
        return self.task or None

    def ask(self, path: str, said: Any = None, method: str = "POST", **more: Any) -> Any:
        """A request of the task that it holds, or held."""
        headers = self.headers | {"Paritygate-Lease": self.task["lease"]} | more.pop("headers", {})
        url = f"/api/work/tasks/{self.task['task']}{path}"
        return self.client.request(method, url, json=said, headers=headers, **more)

    def put(self, name: str, content: bytes, way: str = "replace", offset: int = 0, size: int | None = None) -> Any:
        where = {"name": name, "way": way, "offset": offset, "size": offset + len(content) if size is None else size}
        where["sha256"] = hashlib.sha256(content).hexdigest()
        headers = self.headers | {"Paritygate-Lease": self.task["lease"]}
        url = f"/api/work/tasks/{self.task['task']}/content"
        return self.client.put(url, params=where, content=content, headers=headers)

    def send(self, folder: Path) -> dict[str, Any]:
        """All of a run folder; gives what `finish` is told of it."""
        for name in files_of(folder):
            answer = self.put(name, (folder / name).read_bytes(), "add" if name in GROWING else "replace")
            assert answer.status_code == 204, answer.text
        return {name: hashed((folder / name).read_bytes()) for name in files_of(folder)}


def hashed(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
