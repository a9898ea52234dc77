"""What a caller or a run may say that is no text, no number or without end: refused, and never a failure."""

import asyncio
import json
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.sending import Sender, manifest
from harness.service.uploaded import project, rows, upload
from paritygate.catalog.select import select_cells
from paritygate.core.errors import UsageError
from paritygate.service import gating, index, queries, uploads
from paritygate.service.api.events import Stream
from paritygate.service.config import ServiceConfig
from paritygate.service.folders import Folders, arrival_of
from paritygate.service.reading import read_run
from paritygate.service.tokens import Caller, revoke

RUN = "20260102T030405Z-tiny-abcd"
DEEP, NO_TEXT = "[" * 100_000, r'"\ud800"'
REVISION = "0" * 40
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

BODIES = (
    ("POST", "projects", f'{{"name": {NO_TEXT}}}'),
    ("POST", "projects", DEEP),
    ("POST", "projects", '{"name": ' + "9" * 5000 + "}"),
    ("POST", "tokens", f'{{"name": {NO_TEXT}, "scopes": ["read"]}}'),
    ("POST", "tokens", f'{{"name": "a", "scopes": [{NO_TEXT}], {NO_TEXT}: 1}}'),
    ("POST", "tokens", '{"name": "a", "scopes": ["read"], "expires_s": NaN}'),
    ("POST", "projects/alpha/uploads", f'{{"run": "a", "files": [], "branch": {NO_TEXT}}}'),
    ("POST", "projects/alpha/uploads", f'{{"run": "a", "files": [], {NO_TEXT}: 1}}'),
    (
        "POST",
        "projects/alpha/jobs",
        f'{{"suite": "tiny", "cells": "f64", "revision": "{REVISION}", "branch": {NO_TEXT}}}',
    ),
    ("PUT", "projects/alpha/runs/a/pin", f'{{"reason": {NO_TEXT}}}'),
    ("POST", "projects/alpha/runs/a/approve", f'{{"select": {NO_TEXT}, "reason": "a"}}'),
    ("POST", "work/lease", f'{{"worker": "w", "labels": [], "revisions": {{}}, "versions": {{{NO_TEXT}: "1"}}}}'),
)


@on_sqlite
def test_a_body_that_is_no_text_or_no_number_is_refused(app: FastAPI) -> None:
    project(app)
    headers = {**bearer(app, "admin"), "Content-Type": "application/json"}
    with TestClient(app, raise_server_exceptions=False) as client:
        for method, path, body in BODIES:
            answer = client.request(method, f"/api/{path}", content=body.encode(), headers=headers)
            assert answer.status_code in (400, 422), (path, body[:80], answer.text)
            assert answer.json()["error"]["what"]


def test_a_name_with_nul_is_no_token(app: FastAPI) -> None:
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.delete("/api/tokens/a%00b", headers=bearer(app, "admin")).status_code == 404


@on_sqlite
def test_a_form_says_not_itself_how_it_is_read(client: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x; charset=unicode_escape"
    assert client.post("/login", content=body, headers={"Content-Type": kind}).status_code == 415


def _info(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


ODD: tuple[Callable[[Path], object], ...] = (
    _info(wall_s=10**400),
    _info(cases="\ud800"),
    _info(versions={"\ud800": 1}),
    lambda folder: (folder / "run.json").write_text(DEEP),
    lambda folder: (folder / "coverage.json").write_text(DEEP),
    lambda folder: (folder / "lint.json").write_bytes(b"\xff"),
    lambda folder: (folder / "rows.jsonl").write_text(DEEP + "\n"),
)


def test_a_run_without_end_or_text_is_none(tmp_path: Path) -> None:
    made = synthetic.write_run(tmp_path / RUN, layers=1).folder
    for number, change in enumerate(ODD):
        folder = shutil.copytree(made, tmp_path / str(number))
        change(folder)
        with pytest.raises(UsageError):
            read_run(folder, 1_000)


@on_sqlite
def test_what_is_said_of_a_run_is_text_and_names_no_folder_of_this_machine(app: FastAPI, tmp_path: Path) -> None:
    project(app)
    folder = synthetic.write_run(tmp_path / RUN, layers=1).folder
    _info(versions={"\ud800": 1})(folder)
    with TestClient(app, raise_server_exceptions=False) as client:
        sender = Sender(client, bearer(app, "read", "submit"), "alpha")
        id = sender.begin(manifest(folder)).json()["upload"]
        for each in manifest(folder)["files"]:
            sender.put(id, each["name"], (folder / each["name"]).read_bytes())
        answer = sender.finish(id)
        assert (answer.status_code, answer.json()["error"]["what"]) == (422, "value does not fit")
        upload(app, "run", rows())
        (Folders(app.state.service.config).run("alpha", "run") / "lint.json").write_text("[")
        said = client.get("/api/projects/alpha/runs/run/gate", headers=sender.headers).json()["error"]
        assert (said["what"], said["where"]) == ("lint.json cannot be read", "DATA/projects/alpha/runs/run/lint.json")


def test_a_cell_that_is_named_often_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("paritygate.catalog.select.product", lambda *axes: made.append(axes) or ())
    select_cells("f64,f64,f64 x single,single x cpu,cpu")
    assert made == [(["f64"], ["single"], ["cpu"])]


@on_sqlite
def test_what_signs_cookies_is_for_the_service_alone(app: FastAPI, config: ServiceConfig) -> None:
    for path in Path(config.database.removeprefix("sqlite:///")).parent.glob("service.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


@on_sqlite
def test_a_branch_with_a_slash_is_named_in_a_path(app: FastAPI, client: TestClient) -> None:
    project(app)
    upload(app, "run", rows(), branch="feature/x")
    upload(app, "later", rows())
    headers = bearer(app, "read")
    assert client.get("/api/projects/alpha/runs/latest:feature~x", headers=headers).json()["name"] == "run"
    page = client.get("/projects/alpha/runs/latest:feature~x.json", headers=headers).json()
    assert page["run"]["name"] == "run"
    assert queries.run(app.state.service, "alpha", "latest:feature/x").name == "run"


@on_sqlite
def test_the_gate_reads_rows_once_for_a_run_and_a_baseline(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    project(app)
    run, service, read = upload(app, "run", rows("rounding")), app.state.service, []
    light = gating.light_rows
    monkeypatch.setattr(gating, "light_rows", lambda run: read.append(run.folder.name) or light(run))
    first = gating.gate(service, "alpha", "run")
    assert gating.gate(service, "alpha", "latest") == first
    assert read == [run.name]
    path = Folders(service.config).baselines("alpha") / "cpu.jsonl"
    path.write_text("")
    gating.gate(service, "alpha", "run")
    assert read == [run.name] * 2
    recent = gating.Recent(most=2)
    for name in "abcd":
        recent.answer((name,), lambda: first)
    made: list[str] = []
    assert recent.answer(("d",), lambda: made.append("d") or first) == first
    assert recent.answer(("a",), lambda: made.append("a") or first) == first
    assert made == ["a"]


@on_sqlite
def test_a_run_whose_line_was_lost_is_there_to_who_sends_it_again(
    app: FastAPI, client: TestClient, tmp_path: Path
) -> None:
    project(app)
    folder, service = synthetic.write_run(tmp_path / RUN, layers=1).folder, app.state.service
    sender = Sender(client, bearer(app, "read", "submit"), "alpha")
    found = sender.send(folder)
    index._remove(service, 1, [RUN])  # as a server leaves it that is killed behind the rename
    assert sender.begin(manifest(folder)).json()["there"] == found


@on_sqlite
def test_local_takes_no_upload_and_a_strange_file_is_in_nobodys_way(app: FastAPI, config: ServiceConfig) -> None:
    with pytest.raises(UsageError, match="local is what runs on this machine"):
        uploads.begin(app.state.service, Caller("a", frozenset()), "local", uploads.Manifest("a", {}))
    (config.data / "uploads").mkdir()
    (config.data / "uploads" / "notes.txt").write_text("not ours")
    uploads.drop_expired(app.state.service)


@on_sqlite
def test_a_folder_that_was_copied_gets_a_number_of_its_own(app: FastAPI, config: ServiceConfig) -> None:
    project(app)
    upload(app, "run", rows())
    runs = Folders(config).runs("alpha")
    shutil.copytree(runs / "run", runs / "copy")
    assert index.catch_up(app.state.service) == 1
    assert {each.name: each.number for each in queries.runs(app.state.service, "alpha").items} == {"run": 1, "copy": 2}
    assert arrival_of(runs / "copy").number == 2


@on_sqlite
def test_the_index_is_emptied_where_no_run_arrives_meanwhile(app: FastAPI, config: ServiceConfig) -> None:
    project(app)
    upload(app, "run", rows())
    service = app.state.service
    with ThreadPoolExecutor(1) as other:
        with Folders(config).locked("alpha"):
            made = other.submit(index.rebuild, service, lambda line: None)
            with pytest.raises(TimeoutError):
                made.result(0.2)
            assert [each.name for each in queries.runs(service, "alpha").items] == ["run"]
        assert made.result() == 1


@on_sqlite
def test_a_stream_of_events_ends_with_its_token(app: FastAPI) -> None:
    project(app)
    said = bearer(app, "read", name="reader")["Authorization"].encode()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"authorization", said)], "app": app}
    stream = Stream(
        Request(scope | {"path_params": {"project": "alpha"}}), app.state.service, "reader", "alpha", 0, None
    )
    texts = stream.body_iterator

    async def read() -> list[Any]:
        first = [await anext(texts)]  # type: ignore[arg-type]
        revoke(app.state.service.engine, "reader", "tests")
        return first + [text async for text in texts]

    assert "event: end" not in "".join(asyncio.run(read()))
