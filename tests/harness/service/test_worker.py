"""A worker with a candidate that plays its runs: what it calls, sends and says, and what it does when all breaks."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.working import JOB, ByHand, make_project
from paritygate.client.candidates import revision_of
from paritygate.client.running import Running
from paritygate.client.work import Unreachable, Work
from paritygate.client.worker import Worker, Workplace
from paritygate.core.codec import canonical
from paritygate.core.errors import Terminated, UsageError
from paritygate.core.run import Run
from paritygate.service.folders import Folders

AT = "/api/projects/llama/jobs"
RUN = "20260102T030405Z-tiny-abcd"
PLAY = Path(__file__).with_name("play.py")
CELLS = ("f64/single/cpu", "bf16/single/cpu")


@pytest.fixture
def database(tmp_path: Path) -> str:
    """What a worker does is the same on any."""
    return f"sqlite:///{tmp_path / 'service.db'}"


class Through(httpx2.BaseTransport):
    """Requests to the service in this process. `breaks` says of each whether the connection is lost, and when; or
    that a page of somebody else's is the answer."""

    def __init__(self, client: TestClient, breaks: Callable[[str], str]):
        self.client, self.breaks = client, breaks

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        how, headers = self.breaks(request.url.path), dict(request.headers)
        if how == "before":
            raise httpx2.ConnectError("nobody is there")
        if how == "portal":
            return httpx2.Response(200, headers={"content-type": "text/html"}, text="<h1>Welcome to our network</h1>")
        url = str(request.url.copy_with(scheme="http", host="testserver", port=None))
        said = self.client.request(request.method, url, headers=headers | {"host": "localhost"}, content=request.read())
        if how == "after":
            raise httpx2.ReadError("the answer was lost")
        return httpx2.Response(said.status_code, headers=dict(said.headers), content=said.content)


class Bench:
    """A checkout whose interpreter plays, a project with a job, and a worker."""

    def __init__(self, app: FastAPI, client: TestClient, root: Path):
        self.app, self.client, self.root = app, client, root
        self.said: list[str] = []
        self.breaks: Callable[[str], str] = lambda path: ""
        make_project(app, "llama")
        self.checkout = root / "checkout"
        binary = self.checkout / ".venv" / "bin" / "python"
        binary.parent.mkdir(parents=True)
        binary.write_text(f"#!{sys.executable}\n{PLAY.read_text()}")
        binary.chmod(0o755)
        (self.checkout / ".gitignore").write_text(".venv/\n")
        for command in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a"],
        ):
            subprocess.run(["git", "-C", str(self.checkout), *command], check=True)
        self.revision = revision_of(self.checkout)
        self.play()
        self.headers = bearer(app, "read", "submit", "work", name="team")

    def play(self, code: int = 0, suites: tuple[str, ...] = ("tiny",), **how: Any) -> None:
        run = self.root / "whole" / RUN
        if not run.exists():
            rows = synthetic.rows(layers=1, cases=synthetic.CASES[:1], cells=CELLS)
            run.mkdir(parents=True)
            info = synthetic.info(id=RUN, cases=synthetic.CASES[:1], cells=CELLS, problems=(), values=len(rows))
            Run(run, info).save(info).save_rows(rows)
            (run / "drifts.jsonl").write_text("".join(canonical(row.drift) + "\n" for row in rows))
        said = {"run": str(run), "code": code, "suites": suites, **how}
        (self.root / "play.json").write_text(json.dumps(said))

    def submit(self, **more: Any) -> int:
        answer = self.client.post(AT, json={**JOB, "revision": self.revision, **more}, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["number"]

    def work(self) -> None:
        token = self.headers["Authorization"].split()[1]
        place = Workplace("w", ("cpu",), (self.checkout,), self.root / "home")
        transport = Through(self.client, lambda path: self.breaks(path))
        Worker(place, lambda: Work("http://127.0.0.1:1", token, transport=transport), self.said.append).work(
            0.1, "idle"
        )

    def task(self, number: int = 1) -> Mapping[str, Any]:
        return self.client.get(f"{AT}/{number}", headers=self.headers).json()["tasks"][0]

    @property
    def called(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "called.jsonl").read_text().splitlines()]


@pytest.fixture
def bench(app: FastAPI, client: TestClient, tmp_path: Path) -> Bench:
    return Bench(app, client, tmp_path / "bench")


def test_a_task_is_replayed_by_the_command_line_and_its_run_arrives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARITYGATE_TOKEN", "pgt_secret")
    bench.play(code=1)
    bench.submit(cases=["tiny-scout.long"], mode="both")
    bench.work()
    (called,) = bench.called
    assert called["arguments"] == [
        *("-m", "paritygate", "run", "tiny-scout.long", "--suite", "tiny"),
        *("--cells", "f64/single/cpu;bf16/single/cpu", "--mode", "both", "--quiet"),
    ]
    assert (called["token"], called["folder"]) == (None, str(bench.checkout))
    task = bench.task()
    assert (task["state"], task["run"], task["exit_code"]) == ("done", RUN, 1)
    arrived, sent = Folders(bench.app.state.service.config).run("llama", RUN), bench.root / "whole" / RUN
    for path in sent.iterdir():
        assert (arrived / path.name).read_bytes() == path.read_bytes(), path.name
    arrival = json.loads((arrived / "upload.json").read_text())
    assert (arrival["commit"], arrival["by"]) == (bench.revision, "team")
    assert bench.said == [
        "w works for http://127.0.0.1:1: cpu",
        f"has {bench.revision} in {bench.checkout}: tiny",
        f"task 1 of job 1 in llama: tiny in f64/single/cpu, bf16/single/cpu at {bench.revision[:12]}, attempt 1",
        f"task 1: done, exit code 1: {RUN}",
    ]
    assert not list((bench.root / "home" / "tasks").iterdir())


def test_what_another_worker_measured_is_gone_on_with(bench: Bench, app: FastAPI, client: TestClient) -> None:
    bench.submit()
    first = ByHand(app, client, "killed")
    assert first.lease(revision=bench.revision)
    whole = bench.root / "whole" / RUN
    first.put("run.json", (whole / "run.json").read_bytes())
    lines = (whole / "drifts.jsonl").read_bytes()
    first.put("drifts.jsonl", lines[: lines.index(b"\n") + 10], "add")
    assert first.ask("/give-back").status_code == 204
    bench.work()
    (called,) = bench.called
    assert called["arguments"] == ["-m", "paritygate", "run", "--resume", RUN, "--quiet"]
    assert called["found"]["drifts.jsonl"].encode() == lines[: lines.index(b"\n") + 1], "whole lines only"
    assert bench.task()["state"] == "done"


def test_what_cannot_be_gone_on_with_is_begun_anew_and_says_so(bench: Bench, app: FastAPI, client: TestClient) -> None:
    refused = {"code": 2, "said": "run cannot be resumed with another state of what it was begun with"}
    bench.play(refuses_to_resume=refused)
    bench.submit()
    first = ByHand(app, client, "killed")
    assert first.lease(revision=bench.revision)
    first.put("run.json", (bench.root / "whole" / RUN / "run.json").read_bytes())
    first.put("findings.jsonl", b"{}\n", "add")
    assert first.ask("/give-back").status_code == 204
    bench.work()
    assert [each["arguments"][3] for each in bench.called] == ["--resume", "tiny"]
    assert bench.task()["reason"] == f"begun anew: {refused['said']}"
    assert f"task 1: begins anew: {refused['said']}" in bench.said
    arrived = Folders(bench.app.state.service.config).run("llama", RUN)
    assert not (arrived / "findings.jsonl").exists(), "nothing of the first attempt is in it"


def test_a_run_that_cannot_be_fails_its_task_with_the_reason(bench: Bench) -> None:
    bench.play(refuses={"code": 3, "said": "no golden: tiny/tiny-scout.long"})
    bench.submit()
    bench.work()
    task = bench.task()
    assert (task["state"], task["run"]) == ("failed", "")
    assert task["reason"].splitlines() == [
        "no golden: tiny/tiny-scout.long",
        "  try       paritygate golden pull where the worker is, then the job again",
    ]
    bench.play(changes=str(bench.checkout / "new.py"))
    bench.submit()
    bench.work()
    assert bench.task(2)["reason"] == "the candidate was changed while it was replayed"
    bench.submit()
    bench.work()
    assert (bench.task(3)["state"], bench.said[-1]) == (
        "queued",
        f"has {bench.revision}-dirty in {bench.checkout}: tiny",
    )


def interrupt(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Calls `then` in the midst of a run: when half of its drifts have been sent."""
    looked, seen = Running.ended_within, []

    def ended_within(self: Running, seconds: float) -> int | None:
        seen.append(looked(self, 0.2))
        if len(seen) == 12:
            then()
        return seen[-1]

    monkeypatch.setattr(Running, "ended_within", ended_within)
    monkeypatch.setattr("paritygate.client.doing._SENDS_EVERY_S", 0.0)


def test_a_worker_that_is_terminated_gives_its_task_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate() -> None:
        raise Terminated

    bench.play(hangs=True)
    bench.submit()
    interrupt(monkeypatch, terminate)
    with pytest.raises(Terminated):
        bench.work()
    task = bench.task()
    assert (task["state"], task["attempt"], bench.said[-1]) == ("queued", 0, "task 1: given back")
    folder = Folders(bench.app.state.service.config).task(1)
    whole = (bench.root / "whole" / RUN / "drifts.jsonl").read_bytes()
    kept = (folder / "drifts.jsonl").read_bytes()
    assert whole.startswith(kept) and kept.count(b"\n") == whole.count(b"\n") // 2
    assert json.loads((folder / "run.json").read_text())["problems"] == ["the run did not finish"]
    monkeypatch.undo()
    bench.play()
    bench.work()
    assert bench.task()["state"] == "done"


def test_a_worker_stops_when_the_job_is_cancelled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.play(hangs=True)
    number = bench.submit()
    object.__setattr__(bench.app.state.service.config, "lease_s", 6.0)
    interrupt(monkeypatch, lambda: bench.client.delete(f"{AT}/{number}", headers=bench.headers) and None)
    bench.work()
    assert bench.said[-1] == "task 1: stopped: job was cancelled"
    assert bench.task()["state"] == "cancelled"


def test_a_worker_goes_on_without_the_service_until_its_lease_is_surely_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    bench.breaks = lambda path: lost[0] if lost else ""
    object.__setattr__(bench.app.state.service.config, "lease_s", 5.0)
    bench.play(hangs=True)
    bench.submit()
    interrupt(monkeypatch, lambda: lost.append("before"))
    with pytest.raises(Unreachable):
        bench.work()
    assert bench.said[-1] == "task 1: stopped: the service was not reached before the lease ran out"
    assert bench.task()["state"] == "leased", "until somebody asks for work"


def test_answers_that_are_lost_make_nothing_twice(bench: Bench) -> None:
    times: dict[str, int] = {}

    def breaks(path: str) -> str:
        times[path] = times.get(path, 0) + 1
        return "after" if "/tasks/" in path and not path.endswith("heartbeat") and times[path] % 2 else ""

    bench.breaks = breaks
    bench.submit()
    bench.work()
    assert (bench.task()["state"], bench.task()["run"]) == ("done", RUN)
    assert bench.said[-1] == f"task 1: done, exit code 0: {RUN}"
    arrived = Folders(bench.app.state.service.config).run("llama", RUN)
    assert (arrived / "drifts.jsonl").read_bytes() == (bench.root / "whole" / RUN / "drifts.jsonl").read_bytes()


def test_a_page_of_somebody_in_between_is_no_answer(bench: Bench, app: FastAPI, client: TestClient) -> None:
    """A network that wants a login: the worker waits as for a service that is away, and takes nothing for done."""
    bench.breaks = lambda path: "portal"
    with pytest.raises(Unreachable, match="no paritygate service answers there") as raised:
        bench.work()
    assert raised.value.got == "HTTP 200, text/html"
    bench.submit()
    first = ByHand(app, client, "killed")
    assert first.lease(revision=bench.revision)
    whole = bench.root / "whole" / RUN
    for name in ("run.json", "drifts.jsonl"):
        first.put(name, (whole / name).read_bytes())
    assert first.ask("/give-back").status_code == 204
    asked: list[str] = []

    def breaks(path: str) -> str:
        asked.append(path)
        return "portal" if "/tasks/" in path and asked.count(path) in (1, 3) else ""

    bench.breaks = breaks
    bench.work()
    assert (bench.task()["state"], bench.said[-1]) == ("done", f"task 1: done, exit code 0: {RUN}")
    (called,) = bench.called
    assert called["found"]["drifts.jsonl"] == (whole / "drifts.jsonl").read_text(), "it was gone on with"


def test_two_workers_of_one_name_are_not_at_work_in_one_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def another() -> None:
        with pytest.raises(UsageError, match="a worker of this name is at work: w"):
            bench.work()
        raise Terminated

    bench.play(hangs=True)
    bench.submit()
    interrupt(monkeypatch, another)
    with pytest.raises(Terminated):
        bench.work()


def test_a_candidate_without_a_revision_is_no_candidate(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="candidate has no revision"):
        revision_of(tmp_path)
    (bench.checkout / ".gitignore").write_text(".venv/\n__pycache__/\n")
    assert revision_of(bench.checkout) == f"{bench.revision}-dirty"
