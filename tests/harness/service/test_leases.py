"""Leases: each task is one worker's at a time, what is written of it is its holder's, and it ends once."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.working import JOB, REVISION, ByHand, hashed, make_project
from paritygate.core.codec import canonical
from paritygate.core.project import Arrival, FileHash
from paritygate.core.run import Run
from paritygate.service import events, tasks
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.database import writing
from paritygate.service.folders import Folders, write
from paritygate.service.index import catch_up
from paritygate.service.leases import Offer, lease
from paritygate.service.tables import task, worker
from paritygate.service.tokens import Caller

AT = "/api/projects/llama/jobs"
RUN = "20260102T030405Z-tiny-abcd"
LINES = b'{"one": 1}\n{"two": 2}\n'


@pytest.fixture
def submit(app: FastAPI, client: TestClient) -> Any:
    make_project(app, "llama")
    headers = bearer(app, "submit", "read", name="ci")

    def submitted(**more: Any) -> int:
        answer = client.post(AT, json={**JOB, **more}, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["number"]

    return submitted


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Of what JOB asks for, in the smallest model."""
    cells = ("f64/single/cpu", "bf16/single/cpu")
    rows = synthetic.rows(layers=1, cases=synthetic.CASES[:1], cells=cells)
    folder = tmp_path / RUN
    folder.mkdir()
    info = synthetic.info(id=RUN, cases=synthetic.CASES[:1], cells=cells, problems=())
    Run(folder, info).save(info).save_rows(rows)
    (folder / "drifts.jsonl").write_text("".join(canonical(row.drift) + "\n" for row in rows))
    return folder


def state(client: TestClient, app: FastAPI, number: int) -> dict[str, Any]:
    headers = bearer(app, "read", name=f"reader-{time.monotonic_ns()}")
    return client.get(f"{AT}/{number}", headers=headers).json()


def let_run_out(app: FastAPI) -> None:
    with writing(app.state.service.engine).begin() as connection:
        connection.execute(update(task).where(task.c.until.is_not(None)).values(until=1.0))


def test_of_sixteen_that_ask_at_once_each_task_is_given_to_one(app: FastAPI, submit: Any) -> None:
    for _ in range(8):
        submit()
    service, anybody = app.state.service, Caller("w", frozenset({"work"}))

    def ask(number: int) -> Any:
        return lease(service, anybody, Offer(f"w-{number}", ("cpu",), {REVISION: ("tiny",)}, {}))

    with ThreadPoolExecutor(16) as pool:
        given = [found for found in pool.map(ask, range(16)) if found is not None]
    assert sorted(found.task for found in given) == sorted({found.task for found in given})
    assert (len(given), len({found.lease for found in given})) == (8, 8)
    with service.engine.connect() as connection:
        assert len(connection.execute(select(worker.c.name)).all()) == 16


def test_a_task_goes_to_who_has_its_labels_revision_and_project(app: FastAPI, client: TestClient, submit: Any) -> None:
    submit(cells="bf16 x single x gpu", labels=["h100"])
    make_project(app, "gemma")
    assert ByHand(app, client, "a").lease("cpu gpu") is None
    assert ByHand(app, client, "b").lease("gpu h100", revision="f" * 40) is None
    assert ByHand(app, client, "c").lease("gpu h100", revision=f"{REVISION}-dirty") is None
    assert ByHand(app, client, "d", project="gemma").lease("gpu h100") is None
    given = ByHand(app, client, "e", project="llama").lease("cpu gpu h100")
    assert given is not None
    assert (given["attempt"], given["cells"], given["suite"], given["mode"]) == (1, ["bf16/single/gpu"], "tiny", "all")
    said = {"worker": "a", "labels": ["cpu"], "revisions": {}}
    assert client.post("/api/work/lease", json=said, headers=bearer(app, "work", name="x")).status_code == 409
    assert client.post("/api/work/lease", json=said, headers=bearer(app, "submit", "read")).status_code == 403
    assert client.post("/api/work/lease", json=said).status_code == 401
    wrong = [{"labels": ["a b"]}, {"revisions": {"main": []}}, {"worker": "a/b"}, {"revisions": {REVISION: ["-x"]}}]
    for each in wrong:
        answer = client.post(
            "/api/work/lease", json=said | each, headers=bearer(app, "work", name=f"w{wrong.index(each)}")
        )
        assert answer.status_code == 422, each


def test_whoever_holds_no_lease_any_more_writes_nothing(app: FastAPI, client: TestClient, submit: Any) -> None:
    number = submit()
    first, second = ByHand(app, client, "first"), ByHand(app, client, "second")
    assert first.lease()
    folder = Folders(app.state.service.config).task(first.task["task"])
    assert first.put("drifts.jsonl", LINES, "add").status_code == 204
    assert first.ask("/heartbeat", {}).json() == {"state": "go on", "left_s": 60.0}
    let_run_out(app)
    for asked in (
        first.ask("/heartbeat", {}),
        first.put("drifts.jsonl", LINES, "add", len(LINES)),
        first.ask("/finish", {"exit_code": 0, "files": {}}),
        first.ask("/fail", {"reason": "x"}),
        first.ask("/begin-anew", {"reason": "x"}),
        first.ask("/give-back"),
        first.ask("/files", method="GET"),
    ):
        assert asked.status_code == 409, asked.text
    assert second.lease() and second.task["attempt"] == 2
    assert first.put("drifts.jsonl", LINES, "add", len(LINES)).status_code == 409
    assert (folder / "drifts.jsonl").read_bytes() == LINES
    other = ByHand(app, client, "other", project="llama")
    other.task = {"task": second.task["task"], "lease": first.task["lease"]}
    assert other.put("drifts.jsonl", b"", "replace").status_code == 409
    stranger = ByHand(app, client, "stranger", project="gemma")
    stranger.task = second.task
    assert stranger.ask("/heartbeat", {}).status_code == 404
    assert second.ask("/give-back").status_code == 204
    assert second.lease() and second.task["attempt"] == 2, "what was given back does not count"

    for attempt in range(3, 6):
        let_run_out(app)
        assert second.lease() and second.task["attempt"] == attempt
    let_run_out(app)
    assert second.lease() is None
    (failed,) = state(client, app, number)["tasks"]
    assert (failed["state"], failed["reason"]) == (
        "failed",
        "its lease ran out 5 times, the last time with worker second",
    )
    told = [each.kind for each in events.since(app.state.service, "llama", 0)]
    assert told.count("lease lost") == 4 and told[-1] == "task failed"


def test_who_works_at_a_job_that_is_cancelled_is_told(app: FastAPI, client: TestClient, submit: Any) -> None:
    number, worker = submit(), ByHand(app, client)
    assert worker.lease()
    assert client.delete(f"{AT}/{number}", headers=bearer(app, "submit")).status_code == 200
    assert worker.ask("/heartbeat", {}).json()["state"] == "cancelled"
    assert worker.put("drifts.jsonl", LINES, "add").status_code == 409
    assert worker.ask("/finish", {"exit_code": 0, "files": {}}).status_code == 409
    assert state(client, app, number)["state"] == "cancelled"


def test_files_are_followed_piece_by_piece(app: FastAPI, client: TestClient, submit: Any) -> None:
    submit()
    worker = ByHand(app, client)
    assert worker.lease()
    folder = Folders(app.state.service.config).task(worker.task["task"])
    assert worker.put("drifts.jsonl", LINES, "add").status_code == 204
    again = worker.put("drifts.jsonl", LINES, "add")
    assert (again.status_code, again.json()["error"]["expected"]) == (412, str(len(LINES)))
    assert worker.put("drifts.jsonl", b"more\n", "add", len(LINES)).status_code == 204
    assert (folder / "drifts.jsonl").read_bytes() == LINES + b"more\n"
    assert worker.put("report.html", b"<html", "replace", 0, 10).status_code == 204
    assert not (folder / "report.html").exists(), "half of it is nowhere to be seen"
    assert worker.put("report.html", b"</p>", "replace", 6, 10).status_code == 412
    assert worker.put("report.html", b"</p>>", "replace", 5, 10).status_code == 204
    assert (folder / "report.html").read_bytes() == b"<html</p>>"
    assert worker.put("drifts.jsonl", b"anew\n", "replace").status_code == 204
    assert (folder / "drifts.jsonl").read_bytes() == b"anew\n"
    for name in ("../x", "/etc/passwd", "drifts.jsonl/..", "workers/0.log", "upload.json", ".drifts.jsonl.part", ""):
        assert worker.put(name, b"x").status_code == 422, name
    assert worker.ask("/content", params={"name": "../../service.db"}, method="GET").status_code == 422
    assert worker.ask("/content", params={"name": "rows.jsonl"}, method="GET").status_code == 404
    assert worker.put("rows.jsonl", b"x", size=1 << 40).status_code == 413
    assert worker.put("rows.jsonl", b"x" * ((1 << 20) + 1)).status_code == 413
    assert worker.put("rows.jsonl", b"xy", size=1).status_code == 422
    where = {"name": "rows.jsonl", "way": "add", "offset": 0, "size": 1, "sha256": "0" * 64}
    sent = worker.ask("/content", method="PUT", params=where)
    assert (sent.status_code, sent.json()["error"]["what"]) == (422, "content is not what was sent")
    assert worker.ask("/begin-anew", {"reason": "another version"}).status_code == 204
    assert not folder.exists()
    (shown,) = state(client, app, 1)["tasks"]
    assert shown["reason"] == "begun anew: another version"


def test_a_task_ends_with_a_run_of_its_project(
    app: FastAPI, client: TestClient, submit: Any, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, fsync = set[int](), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: on_disk.add(os.fstat(handle).st_ino) or fsync(handle))
    number = submit(branch="main")
    worker, service = ByHand(app, client), app.state.service
    assert worker.lease()
    files = worker.send(run_folder)
    kept = worker.ask("/files", method="GET").json()
    assert (kept["run"], kept["files"]) == (RUN, files)
    missing = worker.ask("/finish", {"exit_code": 0, "files": {**files, "lint.json": hashed(b"other")}})
    assert (missing.status_code, missing.json()["error"]["got"]) == (412, "lint.json")
    for _ in range(2):  # the answer to the first was lost
        answer = worker.ask("/finish", {"exit_code": 0, "files": files})
        assert (answer.status_code, answer.json()) == (200, {"run": RUN}), answer.text
    (done,) = state(client, app, number)["tasks"]
    assert (done["state"], done["run"], done["exit_code"]) == ("done", RUN, 0)
    folder = Folders(service.config).run("llama", RUN)
    assert (folder / "drifts.jsonl").read_bytes() == (run_folder / "drifts.jsonl").read_bytes()
    assert {path.stat().st_ino for path in folder.iterdir() if path.name in files} <= on_disk
    told = [each.kind for each in events.since(service, "llama", 0)]
    assert told == ["job requested", "task leased", "run arrived", "task done"]
    assert not Folders(service.config).task(worker.task["task"]).exists()


def test_a_run_that_is_not_of_the_task_is_refused(
    app: FastAPI, client: TestClient, submit: Any, run_folder: Path
) -> None:
    submit(cells="f64 x single x cpu")
    worker = ByHand(app, client)
    assert worker.lease()
    answer = worker.ask("/finish", {"exit_code": 0, "files": worker.send(run_folder)})
    assert (answer.status_code, answer.json()["error"]["what"]) == (422, "run is not of the task")


def test_a_run_of_a_name_that_is_taken_ends_no_task(
    app: FastAPI, client: TestClient, submit: Any, run_folder: Path, config: ServiceConfig
) -> None:
    number, worker = submit(), ByHand(app, client)
    assert worker.lease()
    there = Folders(config).runs("llama") / RUN
    shutil.copytree(run_folder, there)
    write(there / "upload.json", Arrival("", "", "", "ada", 1.0, 1, {}))
    catch_up(app.state.service)
    answer = worker.ask("/finish", {"exit_code": 0, "files": worker.send(run_folder)})
    assert (answer.status_code, answer.json()["error"]["what"]) == (
        422, "there is a run of that name with other content"
    )  # fmt: skip
    let_run_out(app)
    assert state(client, app, number)["tasks"][0]["state"] == "leased"
    assert ByHand(app, client, "another").lease()  # the task is not done by that other run


def test_a_server_killed_between_the_run_and_its_task_replays_nothing_again(
    app: FastAPI,
    client: TestClient,
    config: ServiceConfig,
    submit: Any,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: Any) -> None:
        raise Killed

    numbers = [submit() for _ in range(2)]
    back, gone = ByHand(app, client, "back"), ByHand(app, client, "gone")
    copy = shutil.copytree(run_folder, run_folder.with_name(f"{RUN[:-4]}beef"))
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(text.replace(RUN, copy.name))
    service, ends = app.state.service, []
    for each, folder in ((back, run_folder), (gone, copy)):
        assert each.lease()
        ends.append({"exit_code": 1, "files": each.send(folder)})
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "done", killed)
        for each, end in zip((back, gone), ends, strict=True):
            files = {name: FileHash(**sent) for name, sent in end["files"].items()}
            with pytest.raises(Killed):
                caller = Caller("w", frozenset({"work"}))
                tasks.finish(service, caller, each.task["task"], each.task["lease"], 1, files)
    create_app(config).state.service.engine.dispose()  # the server starts again
    assert back.ask("/finish", ends[0]).json() == {"run": RUN}
    let_run_out(app)
    assert ByHand(app, client, "another").lease() is None
    ended = [state(client, app, number)["tasks"][0] for number in numbers]
    assert [(each["state"], each["run"], each["exit_code"]) for each in ended] == [
        ("done", RUN, 1),
        ("done", copy.name, 1),
    ]
