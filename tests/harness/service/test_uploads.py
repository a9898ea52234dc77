"""Runs that arrive: whole or not at all, whatever breaks on the way."""

import errno
import gzip
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.sending import Sender, manifest
from paritygate.service import uploads
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.folders import Folders
from paritygate.service.uploads import drop_expired

RUN = "20260102T030405Z-tiny-abcd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_run(tmp_path_factory.mktemp("sent") / RUN, layers=1).folder


@pytest.fixture
def sender(app: FastAPI, client: TestClient, config: ServiceConfig) -> Sender:
    Folders(config).create("llama")
    return Sender(client, bearer(app, "read", "submit"))


def begun(sender: Sender, folder: Path) -> str:
    return sender.begin(manifest(folder)).json()["upload"]


def all_but(sender: Sender, folder: Path, id: str, *left_out: str) -> None:
    for each in manifest(folder)["files"]:
        if each["name"] not in left_out:
            sender.put(id, each["name"], (folder / each["name"]).read_bytes())


def left(config: ServiceConfig) -> list[str]:
    """What is still on its way."""
    return sorted(path.name for path in (config.data / "uploads").glob("*"))


def test_a_run_arrives_once(app: FastAPI, sender: Sender, folder: Path, config: ServiceConfig) -> None:
    found = sender.send(folder)
    assert (found["name"], found["number"], found["branch"], found["commit"]) == (RUN, 1, "main", "c0ffee")
    assert sender.send(folder) == found
    assert left(config) == []
    for name in ("run.json", "rows.jsonl", "drifts.jsonl"):
        assert (Folders(config).run("llama", RUN) / name).read_bytes() == (folder / name).read_bytes()
    audit = sender.client.get("/api/audit", headers=bearer(app, "admin"), params={"action": "run arrived"}).json()
    assert [(each["who"], each["project"], each["target"]) for each in audit["items"]] == [
        ("read-submit-", "llama", RUN)
    ]


def test_other_content_under_the_same_name_is_refused(sender: Sender, folder: Path, tmp_path: Path) -> None:
    sender.send(folder)
    other = synthetic.write_run(tmp_path / RUN, layers=1, wall_s=1.0).folder
    answer = sender.begin(manifest(other))
    assert (answer.status_code, answer.json()["error"]["what"]) == (
        409,
        "there is a run of that name with other content",
    )


def test_an_upload_goes_on_at_the_byte_on_disk(
    app: FastAPI, sender: Sender, folder: Path, config: ServiceConfig
) -> None:
    id, rows = begun(sender, folder), (folder / "rows.jsonl").read_bytes()
    assert sender.put(id, "rows.jsonl", rows[:1000]).json() == {"name": "rows.jsonl", "have": 1000}
    headers = bearer(app, "submit", name="again")
    app.state.service.engine.dispose()
    with TestClient(create_app(config)) as client:  # as after a kill: nothing is kept but the folder and its line
        sender = Sender(client, headers)
        assert (begun(sender, folder), sender.have(id)["rows.jsonl"]) == (id, 1000)
        answer = sender.put(id, "rows.jsonl", rows, offset=0)
        assert (answer.status_code, answer.json()["error"]["expected"]) == (409, "Upload-Offset: 1000")
        answer = sender.finish(id)
        assert (answer.status_code, answer.json()["error"]["what"]) == (409, "file is not whole")
        assert sender.put(id, "rows.jsonl", rows[1000:], 1000, packed="gzip").json()["have"] == len(rows)
        all_but(sender, folder, id, "rows.jsonl")
        assert sender.finish(id).json()["name"] == RUN
        client.app.state.service.engine.dispose()  # type: ignore[attr-defined]


def test_a_file_that_is_not_what_was_promised_is_sent_again(sender: Sender, folder: Path) -> None:
    id, rows = begun(sender, folder), (folder / "rows.jsonl").read_bytes()
    all_but(sender, folder, id, "rows.jsonl")
    sender.put(id, "rows.jsonl", rows[:-2] + b"!\n")
    answer = sender.finish(id)
    assert (answer.status_code, answer.json()["error"]["what"]) == (422, "file is not what was promised")
    assert sender.have(id)["rows.jsonl"] == 0
    sender.put(id, "rows.jsonl", rows)
    assert sender.finish(id).status_code == 200


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_packed_bytes_are_unpacked_up_to_what_was_promised(sender: Sender, folder: Path, config: ServiceConfig) -> None:
    id, size = begun(sender, folder), (folder / "run.json").stat().st_size
    headers = {**sender.headers, "Upload-Offset": "0", "Content-Encoding": "gzip"}
    at = f"{sender.at}/{id}/files/run.json"

    def put(content: bytes) -> tuple[int, str]:
        answer = sender.client.put(at, content=content, headers=headers)
        return answer.status_code, answer.json()["error"]["what"]

    assert put(gzip.compress(b"\0" * (64 << 20))) == (413, "more than was promised")
    assert put(b"no gzip at all") == (422, "not packed by gzip, or damaged")
    assert sender.have(id)["run.json"] == 0
    assert put(gzip.compress(b"{}") * 2) == (422, "bytes behind the end of what is packed")
    part = next(
        (config.data / "uploads" / id).glob(
            f"{[each['name'] for each in manifest(folder)['files']].index('run.json')}.part"
        )
    )
    assert part.stat().st_size <= size


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_full_disk_keeps_what_is_there(
    sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch, config: ServiceConfig
) -> None:
    id, rows, write = begun(sender, folder), (folder / "rows.jsonl").read_bytes(), os.write
    room = [700]

    def full(handle: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(handle, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr("paritygate.service.receiving.os.write", full)
    answer = sender.put(id, "rows.jsonl", rows)
    assert (answer.status_code, answer.json()["error"]["what"]) == (507, "the disk of the service is full")
    monkeypatch.undo()
    assert sender.have(id)["rows.jsonl"] == 700
    sender.put(id, "rows.jsonl", rows[700:], 700)
    all_but(sender, folder, id, "rows.jsonl")
    assert sender.finish(id).status_code == 200


def test_two_at_once_are_as_two_behind_each_other(sender: Sender, folder: Path, config: ServiceConfig) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = {each.json()["upload"] for each in pool.map(sender.begin, [manifest(folder)] * 4)}
        assert len(ids) == 1
        (id,) = ids
        all_but(sender, folder, id)
        answers = list(pool.map(sender.finish, [id] * 4))
    # One that came when all was over finds no upload, and asks again by the manifest.
    assert {each.status_code for each in answers} <= {200, 404}
    assert {each.json()["number"] for each in answers if each.status_code == 200} == {1}
    assert sender.begin(manifest(folder)).json()["there"]["number"] == 1
    assert left(config) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_kill_behind_the_last_step_leaves_nothing_to_do(
    sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch, config: ServiceConfig
) -> None:
    id = begun(sender, folder)
    all_but(sender, folder, id)
    with monkeypatch.context() as killed:
        killed.setattr(uploads, "_drop", _killed)
        assert sender.finish(id).status_code == 500
    assert sender.finish(id).json()["number"] == 1
    assert left(config) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_run_is_called_as_it_says_itself(sender: Sender, folder: Path, config: ServiceConfig) -> None:
    id = sender.begin(manifest(folder, run="another")).json()["upload"]
    all_but(sender, folder, id)
    answer = sender.finish(id)
    assert (answer.status_code, answer.json()["error"]["what"]) == (422, "run has another name")
    assert left(config) == []


def _killed(*given: object) -> None:
    raise RuntimeError("killed")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_nobody_goes_on_with_is_dropped(app: FastAPI, sender: Sender, folder: Path, config: ServiceConfig) -> None:
    begun(sender, folder)
    orphan = config.data / "uploads" / ("0" * 32)
    orphan.mkdir()
    drop_expired(app.state.service)
    assert len(left(config)) == 2
    later = time.time() + config.limits.upload_s + 1
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(time, "time", lambda: later)
        drop_expired(app.state.service)
    assert left(config) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "status", "what"),
    [
        (lambda asked: asked["files"].pop(), 422, "run is not judged, or is none"),
        (lambda asked: asked["files"][0].update(size=1 << 40), 413, "file is too large"),
        (lambda asked: asked["files"].append(asked["files"][0]), 422, "file is named twice"),
        (lambda asked: asked.update(run="latest"), 422, "no name for a run"),
        (lambda asked: asked.update(run=f"{RUN}.json"), 422, "no name for a run"),  # where the page of RUN is as JSON
        (lambda asked: asked.update(run="../x"), 422, "request does not fit"),
        (lambda asked: asked.update(branch="a\x00b"), 422, "request does not fit"),
        (lambda asked: asked["files"][0].update(name="workers/0.log"), 422, "request does not fit"),
    ],
)
def test_a_manifest_that_is_none(
    sender: Sender, folder: Path, change: Callable[[Any], None], status: int, what: str
) -> None:
    asked = manifest(folder)
    change(asked)
    answer = sender.begin(asked)
    assert (answer.status_code, answer.json()["error"]["what"]) == (status, what)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_folder_that_is_no_run_is_refused_and_gone(sender: Sender, tmp_path: Path, config: ServiceConfig) -> None:
    folder = synthetic.write_run(tmp_path / RUN, layers=1).folder
    (folder / "rows.jsonl").write_text('{"no": "row"}\n')
    id = begun(sender, folder)
    all_but(sender, folder, id)
    answer = sender.finish(id)
    assert answer.status_code == 422, answer.text
    assert str(config.data) not in answer.text
    assert left(config) == []
